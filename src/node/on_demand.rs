//! Bytes that a client asks for and that are not here: a run of the links that could bring them, and a wait.

use std::time::Duration;

use protocol::id::{BlobId, FeedId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::sessions::Watch;
use super::{Node, locked};
use crate::store::{BlobState, Trigger};
use crate::transport::pump::Command;

/// How long a client waits for bytes that are fetched for it. Package clients give up after thirty seconds or more.
const WAIT: Duration = Duration::from_secs(20);

impl Node {
    /// Has bytes fetched that a client asked for, and waits until they are here or cannot be had in time. Tells whether they came.
    pub(super) async fn fetch_now(&self, feed: FeedId, blob: BlobId) -> bool {
        let names: Vec<String> = {
            let links = locked(&self.inner.links);
            let brings = |state: &&super::sessions::LinkState| {
                !state.link.paused && state.link.on(feed).is_some_and(|on| on.switches.flows_in())
            };
            links.values().filter(brings).map(|state| state.link.name.clone()).collect()
        };
        if names.is_empty() {
            return false;
        }
        self.inner.site.ask_for(blob);
        let deadline = Instant::now() + WAIT;
        let mut waits = tokio::task::JoinSet::new();
        for name in names {
            let node = self.clone();
            waits.spawn(async move { node.fetched_over(&name, blob, deadline).await });
        }
        while let Some(came) = waits.join_next().await {
            if came.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    async fn fetched_over(&self, name: &str, blob: BlobId, deadline: Instant) -> bool {
        let watch = self.with_link(name, |state| {
            (state.watch.subscribe(), state.link.is_outgoing(), state.commands.clone())
        });
        let Some((mut watch, outgoing, commands)) = watch else { return false };
        if outgoing {
            self.wake(name, Trigger::Manual);
        } else if commands.is_none_or(|commands| commands.send(Command::Run).is_err()) {
            return false;
        }
        // A run that was going on did not know of the wish: the one after it does.
        let mut ends = 0;
        loop {
            if self.is_whole(blob).await {
                return true;
            }
            match tokio::time::timeout_at(deadline, watch.recv()).await {
                Ok(Ok(Watch::Ended(..))) => ends += 1,
                Ok(Ok(Watch::Progress(_) | Watch::Forecast(_) | Watch::Up) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) | Err(_) => return self.is_whole(blob).await,
            }
            if ends > 1 {
                return self.is_whole(blob).await;
            }
        }
    }

    async fn is_whole(&self, blob: BlobId) -> bool {
        self.blocking(move |site| Ok(matches!(site.store().blob_state(blob)?, BlobState::Complete { .. })))
            .await
            .unwrap_or(false)
    }
}
