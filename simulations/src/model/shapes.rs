//! Three sites joined in every way there is: how far what one of them says gets, by the real gates.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use protocol::id::SiteId;
use protocol::op::{Body, Delete, Grant, Rights};
use protocol::switches::Switches;
use protocol::time::Timestamp;

use super::site::{Site, Stopped, build, coordinate};
use crate::site::{WALL_START_MS, genesis};

/// Sites of a shape.
pub const SITES: usize = 3;

/// What one of the sites is allowed, and how it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// It was granted the right to write.
    Author,
    /// It was granted nothing: a pull-only leaf with packages and deletes of its own.
    Leaf,
    /// The same, and it offers its log to everyone all the same.
    Cheat,
}

/// Every way to join the sites: each pair not at all, one way, the other way, or both ways.
pub fn every_shape() -> impl Iterator<Item = Vec<(usize, usize)>> {
    let pairs = [(0, 1), (0, 2), (1, 2)];
    (0..1_u32 << (2 * pairs.len())).map(move |code| {
        let both = pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
        both.enumerate().filter(|(bit, _)| code >> bit & 1 == 1).map(|(_, flow)| flow).collect()
    })
}

/// The sites, other than the speaker, that hold something it said once everything has synced to rest: one site publishes a package of its
/// own, deletes one of the origin's, and every flow of the shape is taken again and again.
///
/// # Errors
/// A gate stopped what an honest site sent.
pub fn reached(
    flows: &[(usize, usize)],
    origin: usize,
    speaker: usize,
    is: Speaker,
) -> Result<BTreeSet<usize>, String> {
    let now = Timestamp(WALL_START_MS);
    let keys: Vec<SigningKey> = (1..=3).map(|n| SigningKey::from_bytes(&[n; 32])).collect();
    let id = |at: usize| keys.get(at).map_or(SiteId([0; 32]), |key| SiteId(key.verifying_key().to_bytes()));
    let feed = genesis(id(origin));
    let mut sites: Vec<Site> = keys.iter().map(|key| Site::new(key.clone(), feed.clone(), 0)).collect();
    let said_by = id(speaker);
    let Some(first) = sites.get_mut(origin) else { return Err("no such origin".to_owned()) };
    first.say(now, Body::Publish(build("upstream", 1, vec![])));
    if is == Speaker::Author {
        let (label, prefix) = (String::new(), String::new());
        let grant = Grant { grantee: said_by, label, rights: Rights::WRITE, prefix, expires: None };
        first.say(now, Body::Grant(grant));
        // As pairing does: whoever takes a feed up knows who may write in it.
        for at in (0..SITES).filter(|at| *at != origin) {
            take(&mut sites, now, (origin, at), true).map_err(|stopped| stopped.to_string())?;
        }
    }
    let Some(own) = sites.get_mut(speaker) else { return Err("no such speaker".to_owned()) };
    own.say(now, Body::Publish(build("own", 2, vec![])));
    own.say(
        now,
        Body::Delete(Delete { coordinate: coordinate("upstream"), saw: vec![], reason: String::new() }),
    );
    for _ in 0..=SITES {
        for flow in flows {
            let honest = is != Speaker::Cheat || flow.0 != speaker;
            match take(&mut sites, now, *flow, honest) {
                Ok(()) => {}
                Err(Stopped::Gate(_)) if !honest => {}
                Err(stopped) => return Err(stopped.to_string()),
            }
        }
    }
    let holds = |site: &Site| {
        let names = ["own", "upstream"].map(coordinate);
        names.iter().any(|at| site.facts(at).iter().any(|named| named.op.place.log.author == said_by))
    };
    Ok((0..SITES).filter(|at| *at != speaker && sites.get(*at).is_some_and(holds)).collect())
}

fn take(
    sites: &mut Vec<Site>,
    now: Timestamp,
    (from, to): (usize, usize),
    honest: bool,
) -> Result<(), Stopped> {
    let mut taker = sites.swap_remove(to);
    // The last site took the taker's place for the time being.
    let giver = if from == sites.len() { to } else { from };
    let taken = match sites.get(giver) {
        Some(giver) if honest => taker.pull(now, giver, Switches::PULL).map(drop),
        Some(giver) => taker.pull_everything(now, giver, Switches::PULL).map(drop),
        None => Ok(()),
    };
    sites.push(taker);
    let last = sites.len() - 1;
    sites.swap(to, last);
    taken
}
