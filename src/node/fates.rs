//! What became of this site's publishes at sites whose ops do not flow here: kept, told as events, and said in words.

use std::collections::BTreeMap;

use protocol::frame::Fate;
use protocol::id::SiteId;
use protocol::link::Link;
use protocol::op::Body;
use protocol::session::UnservedThere;

use super::Node;
use crate::api::Problem;
use crate::events::Event;
use crate::keeper::wall_clock;
use crate::store::FateThere;

impl Node {
    /// A link's other end took publishes of this site in and does not serve them.
    pub(super) async fn unserved_there(&self, link: &Link, fates: Vec<UnservedThere>) {
        let (peer, kept) = (link.peer, fates.clone());
        let packages = self.blocking(move |site| {
            site.store().put_fates(peer, wall_clock(), &kept)?;
            let mut packages = Vec::with_capacity(kept.len());
            for one in &kept {
                let said = site.store().op(one.publish)?.map(|named| named.op.body);
                if let Some(Body::Publish(publish)) = said {
                    let at = publish.coordinate;
                    packages.push((one.feed, one.fate, format!("{}@{}", at.name, at.version)));
                }
            }
            Ok::<_, Problem>(packages)
        });
        match packages.await {
            Ok(packages) => {
                for (feed, fate, package) in packages {
                    let site = link.peer_name.clone();
                    let (feed, why) = (self.feed_label(feed), words(fate).to_owned());
                    self.event(Event::PublishUnserved { link: link.name.clone(), feed, package, site, why });
                }
            }
            Err(problem) => {
                tracing::error!(
                    link = link.name,
                    ?problem,
                    "cannot keep what became of publishes at the other end"
                );
            }
        }
    }
}

/// Why another site does not serve a publish, after "…, which does not serve it: ".
const fn words(fate: Fate) -> &'static str {
    match fate {
        Fate::Deleted => "a delete there holds",
        Fate::Reused => "it was deleted there, and the feed does not let it come back with other bytes",
        Fate::Blocked => "it is blocked there",
        Fate::Outbid => "another build of the version is served there",
        Fate::Unauthorised => "this site's rights do not reach it, or were taken back",
    }
}

/// The fates of a version in a sentence, or nothing.
pub(super) fn sentence(fates: &[FateThere], names: &BTreeMap<SiteId, String>) -> Option<String> {
    if fates.is_empty() {
        return None;
    }
    let one = |there: &FateThere| {
        let site = names.get(&there.site).cloned().unwrap_or_else(|| there.site.short());
        let by = there.by.first().map_or_else(String::new, |op| format!(" (op {op})"));
        format!("{site} has it and does not serve it: {}{by}", words(there.fate))
    };
    let told: Vec<String> = fates.iter().map(one).collect();
    let restore = fates.iter().any(|there| there.fate == Fate::Deleted);
    let hint = if restore { "; publish it again with --restore to bring it back everywhere" } else { "" };
    Some(format!("{}{hint}", told.join("; ")))
}
