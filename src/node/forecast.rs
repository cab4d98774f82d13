//! What a run would move, asked of the other end without a run.

use std::time::Duration;

use protocol::session::Forecast;
use tokio::sync::broadcast::error::RecvError;

use super::Node;
use super::problem::{not_found, usage};
use super::sessions::Watch;
use crate::api::Problem;
use crate::api::plan::{FeedForecast, Forecasts, LinkForecast};
use crate::transport::pump::Command;

/// How long the other end may take to answer: one round trip, and a handshake before it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

impl Node {
    /// What the next run of one link, or of all outgoing ones, would move. Nothing is moved and no run is recorded.
    ///
    /// # Errors
    /// There is no such link, it is incoming, or the other site is not reached.
    pub async fn forecasts(&self, link: Option<String>) -> Result<Forecasts, Problem> {
        let names = match link {
            Some(name) => vec![self.known_link(&name)?.name],
            None => self.outgoing()?,
        };
        let mut links = Vec::new();
        for name in names {
            links.push(self.forecast_one(&name).await?);
        }
        Ok(Forecasts { links })
    }

    async fn forecast_one(&self, name: &str) -> Result<LinkForecast, Problem> {
        let serving = self.served_by(name);
        let name = serving.as_deref().unwrap_or(name);
        let link = self.known_link(name)?;
        if !link.is_outgoing() {
            return Err(usage(format!("link {name:?} is incoming: only the other site can ask"))
                .hint("run `packetboat sync --dry-run` there"));
        }
        let watch = self.with_link(name, |state| state.watch.subscribe());
        let mut watch = watch.ok_or_else(|| not_found("link", name))?;
        let unreached = |why: String| {
            Problem::new(503, "unreachable", "The other site gave no answer", why)
                .hint(format!("`packetboat sync {name}` tells and records why"))
        };
        let commands = self.session(name).await.map_err(|error| unreached(error.to_string()))?;
        let ended = || unreached(format!("the session of link {name:?} ended first"));
        commands.send(Command::Forecast).map_err(|_closed| ended())?;
        let answer = async {
            loop {
                match watch.recv().await {
                    Ok(Watch::Forecast(forecast)) => return Ok(forecast),
                    Ok(Watch::Progress(_) | Watch::Ended(..) | Watch::Up) | Err(RecvError::Lagged(_)) => {
                        if commands.is_closed() {
                            return Err(ended());
                        }
                    }
                    Err(RecvError::Closed) => return Err(ended()),
                }
            }
        };
        let forecast = tokio::select! {
            answered = answer => answered?,
            () = commands.closed() => return Err(ended()),
            () = tokio::time::sleep(ANSWER_WITHIN) => {
                return Err(unreached(format!("nothing came within {} s", ANSWER_WITHIN.as_secs())));
            }
        };
        let told = self.blocking(move |site| {
            let mut feeds = Vec::new();
            for on in &link.feeds {
                let Some(record) = site.store().feed(on.feed)? else { continue };
                let missing = site.store().missing_blobs(on.feed, site.look(), &on.filter)?;
                let Forecast { come, go } = &forecast;
                feeds.push(FeedForecast {
                    feed: record.name,
                    ops_to_come: come.as_ref().map(|come| come.get(&on.feed).copied().unwrap_or(0)),
                    ops_to_go: go.as_ref().map(|go| go.get(&on.feed).copied().unwrap_or(0)),
                    missing_blobs: missing.len() as u64,
                    missing_bytes: missing.iter().map(|one| one.size).sum(),
                });
            }
            Ok(LinkForecast { link: link.name, peer_name: link.peer_name, feeds })
        });
        told.await
    }
}
