//! Nothing flows against the switches: an author without rights is in nobody else's logs, and no op is where no link ever let it come. Whoever
//! keeps no rules gets no byte that does not flow to it.

use std::collections::BTreeSet;

use protocol::id::{BlobId, SiteId};
use protocol::session::Side;

use crate::oracle::{Fact, Seen};
use crate::site::{LinkEnd, Site};

/// # Errors
/// Whose op is where.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let spread = &seen.oracle.spread;
    let authors: Vec<&Site> = seen.sites.iter().chain(seen.cheat).collect();
    let known: BTreeSet<SiteId> = authors.iter().map(|site| site.id()).collect();
    for (at, site) in seen.sites.iter().enumerate() {
        let heads = site.store().heads(seen.feed).unwrap_or_default();
        if let Some(stranger) = heads.iter().find(|signed| !known.contains(&signed.head.log.author)) {
            return Err(format!("{} has a log of a stranger, {}", site.name, stranger.head.log.author));
        }
        // The origin's first words were handed over when the sites were paired.
        for (author, from) in authors.iter().enumerate().skip(1) {
            let is_here = || heads.iter().any(|signed| signed.head.log.author == from.id());
            if !spread.log_may_be_at(author, at) && is_here() {
                return Err(format!("ops of {} are at {}, where no link lets them", from.name, site.name));
            }
        }
    }
    for fact in seen.oracle.facts(seen.sites) {
        let deletes = fact.delete().is_some();
        // What a link lets nothing else of through is known there by its hash alone.
        let outside = (0..seen.sites.len()).filter(|at| !spread.op_may_be_at(fact.id, *at));
        let mut outside = outside.filter_map(|at| seen.sites.get(at));
        if (deletes || seen.oracle.ruled)
            && let Some(site) = outside.find(|site| site.holds(fact.id))
        {
            let what = if deletes { "a delete" } else { "a publish" };
            return Err(format!("{what} of {} is at {}, where no link lets it", fact.name(), site.name));
        }
    }
    gets_what_flows(seen)
}

/// The cheat has the ops and the bytes that links let come to it, whatever it asks for.
fn gets_what_flows(seen: Seen<'_>) -> Result<(), String> {
    let Some(cheat) = seen.cheat else { return Ok(()) };
    // Who only pushes cannot know what it was granted, and offers its own log all the same.
    let offers = |end: &LinkEnd| {
        end.peer == cheat.id()
            && end.side == Side::Dialler
            && end.switches.flows_out()
            && !end.switches.flows_in()
    };
    let pushes = |fact: &Fact| seen.sites.get(fact.site).is_none_or(|site| site.links.iter().any(offers));
    let flows = |fact: &&Fact| seen.oracle.spread.op_may_be_at(fact.id, seen.sites.len());
    let mut others = seen.oracle.facts(seen.sites).filter(|fact| !pushes(fact));
    if let Some(fact) = others.find(|fact| !flows(fact) && cheat.holds(fact.id)) {
        return Err(format!("{} was given what was said about {}", cheat.name, fact.name()));
    }
    let named = seen.oracle.facts(seen.sites).filter(flows).filter_map(Fact::publish);
    let named: BTreeSet<_> =
        named.flat_map(|publish| publish.manifest.files.iter().map(|file| file.blob)).collect();
    // Of what it holds it may have the bytes: thieves' ops are no facts.
    let holds = |blob: &BlobId| cheat.store().uses(*blob, 1).is_ok_and(|ops| !ops.is_empty());
    match cheat.got().difference(&named).find(|blob| !holds(blob)) {
        Some(blob) => Err(format!("{} was given bytes that do not flow to it: {blob}", cheat.name)),
        None => Ok(()),
    }
}
