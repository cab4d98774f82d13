//! Deletions that wait for a person, as the API tells and approves them.

use data_encoding::HEXLOWER;

use super::Node;
use super::problem::not_found;
use crate::api::Problem;
use crate::api::holds as shapes;
use crate::events::Event;
use crate::keeper::SiteStore;
use crate::store::Hold;

fn told(site: &SiteStore, id: [u8; 8], hold: Hold) -> Result<shapes::Hold, Problem> {
    let feed = site.store().feed(hold.feed)?;
    Ok(shapes::Hold {
        hold: HEXLOWER.encode(&id),
        feed: feed.map_or_else(|| hold.feed.to_string(), |record| record.name),
        link: hold.link,
        since_ms: hold.since.0,
        deletes: hold.deletes,
        standing: hold.standing,
        names: hold.names,
    })
}

impl Node {
    /// All deletions that wait at this site.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn holds(&self) -> Result<shapes::Holds, Problem> {
        self.blocking(|site| {
            let holds = site.store().open_holds(None)?;
            let told = holds.into_iter().map(|(id, hold)| told(site, id, hold));
            Ok(shapes::Holds { holds: told.collect::<Result<_, _>>()? })
        })
        .await
    }

    /// Lets deletions that wait take effect.
    ///
    /// # Errors
    /// There is no such hold, or the disk refuses.
    pub async fn approve(&self, hold: &str) -> Result<shapes::Hold, Problem> {
        let name = hold.to_owned();
        let approved = self.blocking(move |site| {
            let found = site.approve(&name)?;
            let (id, hold) =
                found.ok_or_else(|| not_found("hold", &name).hint("`packetboat holds` lists what waits"))?;
            told(site, id, hold)
        });
        let approved = approved.await?;
        let (hold, feed) = (approved.hold.clone(), Some(approved.feed.clone()));
        self.event(Event::HoldApproved { hold, feed });
        Ok(approved)
    }
}
