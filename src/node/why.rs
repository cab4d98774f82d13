//! Why a version is here, or is not: the ops that have a say in it and the rule that decides.

use std::collections::BTreeMap;

use protocol::feed::{Item, Standing};
use protocol::grant::Authority;
use protocol::id::SiteId;
use protocol::log::NamedOp;
use protocol::op::{Body, Rights};
use protocol::package::Coordinate;

use super::Node;
use super::feeds::{named, package, state_word};
use crate::api::{self, Problem};

impl Node {
    /// Why a version is or is not here.
    ///
    /// # Errors
    /// There is no such feed, or the disk fails.
    pub async fn why(&self, feed: &str, name: &str, version: &str) -> Result<api::Why, Problem> {
        let (feed, name, version) = (feed.to_owned(), name.to_owned(), version.to_owned());
        let mut names: BTreeMap<SiteId, String> =
            self.link_names().into_values().map(|link| (link.peer, link.peer_name)).collect();
        names.insert(self.me(), "this site".to_owned());
        self.blocking(move |site| {
            let (id, record) = named(site, &feed)?;
            let at = Coordinate::new(record.genesis.kind, &name, &version)?;
            let item = site.store().item(id, &at.name, &at.version, site.look())?;
            let Some(item) = item else {
                return Ok(api::Why {
                    feed,
                    state: state_word(Standing::Absent, false).to_owned(),
                    because:
                        "no op about it has reached this site: nobody published it as of the last runs of \
                              its links, or a link does not let it in"
                            .to_owned(),
                    name: at.name,
                    version: at.version,
                    ops: Vec::new(),
                });
            };
            let facts = site.store().facts(id, &at.name, &at.version)?;
            let authority = site.store().authority(id)?;
            let told = package(site, id, &record, at.clone(), &item)?;
            let ops = facts.iter().map(|fact| why_op(fact, &item, authority.as_deref(), &names)).collect();
            let because = because(&item, told.state == "pending", site.me(), authority.as_deref());
            Ok(api::Why { feed, name: at.name, version: at.version, state: told.state, because, ops })
        })
        .await
    }
}

fn because(item: &Item, pending: bool, me: SiteId, authority: Option<&Authority>) -> String {
    let clash = |text: String| {
        if item.clash.is_empty() {
            return text;
        }
        format!(
            "{text}; {} other builds of it lost, because this one has the earliest stamp",
            item.clash.len()
        )
    };
    let at_home = authority.is_some_and(|authority| authority.rights(me) == Rights::default());
    match item.standing {
        Standing::Served if item.local && at_home => clash(
            "it was published at this site, which may not publish in this feed: it is served here and passed on \
             to no other site"
                .to_owned(),
        ),
        Standing::Served if pending => clash("it is published, and its bytes have not all arrived".to_owned()),
        Standing::Served => clash("it is published by a site that may publish in this feed".to_owned()),
        Standing::Deleted => "it was deleted; a delete removes every publish of the version, whoever made it, \
                              unless a publish says that it restores it"
            .to_owned(),
        Standing::Suppressed => "it was published without knowing of a delete: the delete holds; publish with \
                                 --restore to bring it back everywhere"
            .to_owned(),
        Standing::Hidden => "it was deleted at this site, which may not delete in this feed: it is hidden here \
                             only, and other sites still serve it"
            .to_owned(),
        Standing::Parked => "its stamp lies more than ten minutes in the future: it waits until it is due".to_owned(),
        Standing::NotAuthorised => "its publisher may not publish in this feed".to_owned(),
        Standing::Blocked => "it is blocked, by its version or by its bytes; a block wins over every publish".to_owned(),
        Standing::Held => "its publisher's rights were taken back, and what it published after that waits".to_owned(),
        Standing::Absent => "no op about it counts".to_owned(),
    }
}

fn why_op(
    named: &NamedOp,
    item: &Item,
    authority: Option<&Authority>,
    names: &BTreeMap<SiteId, String>,
) -> api::WhyOp {
    let author = named.op.place.log.author;
    let role = if item.winner == Some(named.id) {
        "serves"
    } else if item.clash.contains(&named.id) {
        "lost the clash"
    } else if item.shadowed.contains(&named.id) {
        "shadowed"
    } else if item.suppressed.contains(&named.id) {
        "suppressed"
    } else if item.deletes.contains(&named.id) {
        if item.standing == Standing::Hidden { "hides it here" } else { "deletes" }
    } else if authority.is_some_and(|authority| authority.rights(author) == Rights::default()) {
        "its author may not write in this feed"
    } else if matches!(named.op.body, Body::Publish(_)) {
        "removed by a delete"
    } else {
        "superseded"
    };
    let reason = if let Body::Delete(delete) = &named.op.body { Some(delete.reason.clone()) } else { None };
    let reason = reason.filter(|reason| !reason.is_empty());
    api::WhyOp {
        op: named.id.to_string(),
        kind: named.op.body.kind_name().to_owned(),
        author: author.to_string(),
        author_name: names.get(&author).cloned(),
        stamp_ms: named.op.stamp.wall().0,
        role: role.to_owned(),
        reason,
    }
}
