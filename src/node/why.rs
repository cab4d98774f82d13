//! Why a version is here, or is not: the ops that have a say in it, the rule that decides, and the links it could come by.

use std::collections::BTreeMap;

use protocol::feed::{Item, Standing};
use protocol::grant::{Authority, Verb};
use protocol::id::SiteId;
use protocol::log::NamedOp;
use protocol::op::{Block, Body, Delete, Rights, Unblock};
use protocol::package::Coordinate;

use super::conflicts::reason_of_winner;
use super::feeds::{named, package, state_word};
use super::{Node, fates, locked};
use crate::api::{self, Problem};
use crate::store::Look;

impl Node {
    /// Why a version is or is not here.
    ///
    /// # Errors
    /// There is no such feed, or the disk fails.
    pub async fn why(&self, feed: &str, name: &str, version: &str) -> Result<api::Why, Problem> {
        let (feed, name, version) = (feed.to_owned(), name.to_owned(), version.to_owned());
        let names = self.site_names();
        let by_feed = feed.clone();
        let (id, _) = self.blocking(move |site| named(site, &by_feed)).await?;
        let links = self.ways_of(id);
        self.blocking(move |site| {
            let (id, record) = named(site, &feed)?;
            let at = Coordinate::new(record.genesis.kind, &name, &version)?;
            let item = site.store().item(id, &at.name, &at.version, site.look())?;
            let Some(item) = item else {
                return Ok(api::Why {
                    feed,
                    state: state_word(Standing::Absent, None).to_owned(),
                    because: unknown(&links),
                    name: at.name,
                    version: at.version,
                    ops: Vec::new(),
                    links,
                });
            };
            let facts = site.store().facts(id, &at.name, &at.version)?;
            let authority = site.store().authority(id)?;
            let told = package(site, id, &record, at.clone(), &item)?;
            let by = authority.as_deref().map(|authority| By { authority, look: site.look() });
            let ops = facts.iter().map(|fact| why_op(fact, &item, by, &names)).collect();
            let mut because = because(&item, &told.state, &facts, by);
            if let Some(fates) = fates::sentence(&site.store().fates_of(id, &item)?, &names) {
                because = format!("{because}; {fates}");
            }
            Ok(api::Why { feed, name: at.name, version: at.version, state: told.state, because, ops, links })
        })
        .await
    }

    /// The links that carry a feed, as far as they bear on what is here.
    fn ways_of(&self, feed: protocol::id::FeedId) -> Vec<api::WhyLink> {
        let links = locked(&self.inner.links);
        let carrying = links.values().filter_map(|state| Some((state, state.link.on(feed)?)));
        let told = carrying.map(|(state, on)| {
            let agreed = state.agreed.as_ref();
            let both = agreed.and_then(|agreed| agreed.feeds.iter().find(|both| both.feed == feed));
            api::WhyLink {
                link: state.link.name.clone(),
                peer_name: state.link.peer_name.clone(),
                lets_in: both.map_or(on.switches, |both| both.effective).flows_in(),
                filter: both.map_or(&on.filter, |both| &both.filter).to_string(),
                as_of_ms: state.peer.in_as_of.map(|at| at.0),
                paused: state.link.paused,
            }
        });
        told.collect()
    }
}

/// Why nothing is known of a version.
fn unknown(links: &[api::WhyLink]) -> String {
    if links.is_empty() {
        return "no op about it is here, and no link carries this feed: nobody published it at this site"
            .to_owned();
    }
    let way = |link: &api::WhyLink| match (link.lets_in, link.paused, link.as_of_ms) {
        (false, _, _) => format!("link {} lets nothing in", link.link),
        (true, true, _) => format!("link {} is paused", link.link),
        (true, false, None) => format!("link {} has not completed a run yet", link.link),
        (true, false, Some(_)) => {
            format!("{} had nothing about it as of the last run of link {}", link.peer_name, link.link)
        }
    };
    let ways: Vec<String> = links.iter().map(way).collect();
    format!("no op about it has reached this site: {}", ways.join("; "))
}

fn because(item: &Item, state: &str, facts: &[NamedOp], by: Option<By<'_>>) -> String {
    let mut text = match by.filter(|_| item.standing == Standing::Served && item.local) {
        Some(by) => by.local_words(facts.iter().find(|named| Some(named.id) == item.winner)),
        None => standing_words(item, state),
    }
    .to_owned();
    if !item.clash.is_empty() {
        text = format!(
            "{text}; {} other builds of it lost to this one: {}",
            item.clash.len(),
            reason_of_winner(item)
        );
    }
    if !item.shadowed.is_empty() && !item.local {
        text = format!("{text}; {} local builds are kept behind it and not served", item.shadowed.len());
    }
    if !item.held_deletes.is_empty() {
        text = format!("{text}; a deletion of it waits for approval here: see `packetboat holds`");
    }
    if item.due.is_some() && item.standing != Standing::Parked {
        text = format!("{text}; another op about it waits until its stamp is due");
    }
    text
}

/// The rights that what an op does follows from.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub authority: &'a Authority,
    pub look: Look,
}

impl By<'_> {
    /// Why what this site published, and what is served, counts here alone.
    fn local_words(&self, winner: Option<&NamedOp>) -> &'static str {
        let me = self.look.me;
        let may_publish = self.authority.rights_at(me, self.look.now).publish;
        let travels = winner.is_some_and(|named| !self.authority.stays_home(named.op.place.log));
        if may_publish {
            "it was published at this site and counts here alone: it was said while the site had no right to publish, \
             or its log was cut before it said so; published again, it is published for all"
        } else if travels && self.authority.is_author(me) {
            "it was published at this site, whose right to publish was taken back or has run out: it is served here \
             alone, and elsewhere once the right is given anew"
        } else {
            "it was published at this site, which may not publish in this feed: it is served here and passed on to \
             no other site"
        }
    }

    /// Whether an op of this site's own takes away here what stands elsewhere.
    fn hides(&self, named: &NamedOp) -> bool {
        let Body::Delete(delete) = &named.op.body else { return false };
        let place = named.op.place;
        let removes = self.authority.allows(
            place.log,
            place.seq,
            named.op.stamp,
            Verb::DeleteWide,
            &delete.coordinate.name,
        );
        place.log.author == self.look.me && !removes
    }

    /// Whether a site has no rights, or none any more.
    pub(super) fn is_silent(&self, author: SiteId) -> bool {
        self.authority.rights(author) == Rights::default()
    }
}

fn standing_words(item: &Item, state: &str) -> &'static str {
    match item.standing {
        Standing::Served if state == "pending" => "it is published, and its bytes have not all arrived",
        Standing::Served if state == "on-demand" => {
            "it is published, and its bytes are fetched over a link when a client asks for them"
        }
        Standing::Served if state == "filtered-out" => {
            "it is published, and the filter of every link that carries the feed leaves its bytes out"
        }
        Standing::Served if state == "over-quota" => {
            "it is published, and its bytes wait: with them the feed would be over its quota at this site; \
             `packetboat feed set FEED --quota SIZE` raises it"
        }
        Standing::Served if state == "evicted-here" => {
            "it is published, and its bytes were evicted at this site: they come when a client asks for them, or by \
             `packetboat fetch`"
        }
        Standing::Served => "it is published by a site that may publish in this feed",
        Standing::Blocked => {
            "it is blocked, by its version or by its bytes; a block wins over every publish until it is lifted"
        }
        Standing::Deleted => {
            "it was deleted; a delete removes every publish of the version, whoever made it, unless a publish says \
             that it restores it"
        }
        Standing::Suppressed if !item.reused.is_empty() => {
            "it was deleted and came back with other bytes, which this feed does not allow: publish it under another \
             version"
        }
        Standing::Suppressed => {
            "it was published without knowing of a delete: the delete holds; publish with --restore to bring it back \
             everywhere"
        }
        Standing::Hidden => {
            "it was deleted at this site, which may not delete in this feed, or whose log was cut before it said so: it \
             is hidden here only, and other sites still serve it"
        }
        Standing::Held => {
            "its publisher's rights were taken back, and this was said after what was accepted, so that it counts if \
             rights are given anew; or its publisher signed two histories, and this lies behind what counts of them; or it \
             was signed with a key that its publisher had changed, and counts once it is published again"
        }
        Standing::Parked => "its stamp lies more than ten minutes in the future: it waits until it is due",
        Standing::NotAuthorised => "its publisher may not publish in this feed",
        Standing::Absent => "no op about it counts",
    }
}

/// What an op does here.
pub(super) fn role(named: &NamedOp, item: &Item, by: Option<By<'_>>) -> &'static str {
    let id = &named.id;
    let among: [(&[_], &'static str); 10] = [
        (item.winner.as_slice(), "serves"),
        (item.resolved.as_slice(), "chooses the build"),
        (&item.clash, "lost the clash"),
        (&item.twins, "the same bytes"),
        (&item.shadowed, "shadowed"),
        (&item.suppressed, "suppressed"),
        (&item.reused, "other bytes over a delete"),
        (&item.blocks, "blocks"),
        (&item.held, "its author was revoked"),
        (&item.held_deletes, "waits for approval"),
    ];
    let place = named.op.place;
    let authority = by.map(|by| by.authority);
    if authority.is_some_and(|authority| authority.is_closed(place.log, place.seq)) {
        return "signed with a key that its author had changed";
    }
    if by.is_some_and(|by| by.authority.stayed_home(place.log, by.look.now)) {
        return "said for this site alone, while it had no rights here";
    }
    if authority.is_some_and(|authority| authority.is_cut_off(place.log, place.seq)) {
        return "behind the cut of a forked log";
    }
    if let Some((_, role)) = among.iter().find(|(ops, _)| ops.contains(id)) {
        return role;
    }
    let author = named.op.place.log.author;
    if item.deletes.contains(id) {
        let hides = item.standing == Standing::Hidden && by.is_none_or(|by| by.hides(named));
        if hides { "hides it here" } else { "deletes" }
    } else if by.is_some_and(|by| by.is_silent(author)) {
        "its author may not write in this feed"
    } else if matches!(named.op.body, Body::Publish(_)) {
        // A blocked one may stand beside one that is served, whose own bytes are not blocked.
        let beside = !item.blocks.is_empty() && item.deletes.is_empty();
        if item.standing == Standing::Hidden {
            "hidden here"
        } else if item.standing == Standing::Blocked || beside {
            "blocked"
        } else {
            "removed by a delete"
        }
    } else if matches!(named.op.body, Body::SetState(_)) {
        "offers"
    } else {
        "superseded"
    }
}

fn why_op(named: &NamedOp, item: &Item, by: Option<By<'_>>, names: &BTreeMap<SiteId, String>) -> api::WhyOp {
    let author = named.op.place.log.author;
    let reason = if let Body::Delete(Delete { reason, .. })
    | Body::Block(Block { reason, .. })
    | Body::Unblock(Unblock { reason, .. }) = &named.op.body
    {
        Some(reason.clone())
    } else {
        None
    };
    api::WhyOp {
        op: named.id.to_string(),
        kind: named.op.body.kind_name().to_owned(),
        author: author.to_string(),
        author_name: names.get(&author).cloned(),
        stamp_ms: named.op.stamp.wall().0,
        role: role(named, item, by).to_owned(),
        reason: reason.filter(|reason| !reason.is_empty()),
    }
}
