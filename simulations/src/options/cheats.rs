//! A machine more that keeps no rules: whom it is linked with, what it may, and what it does instead.

use protocol::switches::Switches;

use super::{Act, Back, Fault, Options, Share};
use crate::entropy::Entropy;

/// Times at which it does something, beyond the first few.
const TRICKS_MORE: u64 = 16;
const TRICKS_LEAST: u64 = 6;

/// A link of the cheat's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheatLink {
    /// Who is at the other end.
    pub site: usize,
    /// Whether the cheat dials.
    pub dials: bool,
    /// What the honest end states of it, in its own terms. The cheat states that everything flows.
    pub allow: Switches,
}

/// What a cheat does. Most of it is done where it next says something of the kind over the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    Signs(Signed),
    /// It changes the ops of its own or of others that it sends.
    Ops(OpsTrick),
    /// It sends ops beside those that it tells of.
    Relays(Relayed),
    /// It tells something else of what it has.
    Tells(Lie),
    /// It changes the bytes that it sends.
    Bytes(BytesTrick),
    /// It says something more.
    Says(Aside),
    /// It does something to the connection.
    Breaks(Break),
}

/// What it signs in its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// A package, as anybody does.
    Package,
    /// What it was given no right to.
    BeyondRights,
    /// An op that is stamped a year ahead.
    Future,
}

/// What becomes of a batch of ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpsTrick {
    /// Its own log goes on in another way for this peer alone.
    TwoHistories,
    /// It is changed under its signature.
    Changed,
    Short,
    Garbled,
    Twice,
    /// All ops were sent, it says, and sends them then.
    EndsEarly,
}

/// Ops that it has no business to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// Of somebody without rights.
    Strangers,
    AnotherFeeds,
    /// Of the feed's origin, signed by the cheat.
    Forged,
}

/// What it tells of its logs that is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    LongerLog,
    /// Another history of somebody's log.
    OtherHistory,
    WrongRoot,
    /// There is nothing new.
    Same,
    NoHeads,
    /// Its store is that of another machine.
    AnotherLife,
}

/// What becomes of a piece of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BytesTrick {
    Wrong,
    /// Bytes that nobody asked for.
    Other,
    Twice,
    /// It says that it has not what it has.
    HasNot,
}

/// What it says beside the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// It asks for bytes whose names it knows, whatever flows to it.
    AsksForBytes,
    EndlessWants,
    FloodOfRanges,
    FloodOfHeads,
    FloodOfOneLog,
    FloodOfWants,
    /// An answer that nobody asked for.
    Unasked,
    ForgedRights,
    ForgedFork,
    LongFrame,
    MalformedFrame,
    UnknownFrame,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// A frame ends in its middle.
    CutFrame,
    /// It says nothing more.
    Silent,
    /// It reads nothing more.
    Deaf,
    /// It sends ops without end before they are awaited, and nothing else.
    FloodOfOps,
}

/// All of them; the first four are what takes hold most.
const TRICKS: [Trick; 38] = [
    Trick::Signs(Signed::Package),
    Trick::Signs(Signed::BeyondRights),
    Trick::Ops(OpsTrick::TwoHistories),
    Trick::Bytes(BytesTrick::Wrong),
    Trick::Signs(Signed::Future),
    Trick::Ops(OpsTrick::Changed),
    Trick::Ops(OpsTrick::Short),
    Trick::Ops(OpsTrick::Garbled),
    Trick::Ops(OpsTrick::Twice),
    Trick::Ops(OpsTrick::EndsEarly),
    Trick::Relays(Relayed::Strangers),
    Trick::Relays(Relayed::AnotherFeeds),
    Trick::Relays(Relayed::Forged),
    Trick::Tells(Lie::LongerLog),
    Trick::Tells(Lie::OtherHistory),
    Trick::Tells(Lie::WrongRoot),
    Trick::Tells(Lie::Same),
    Trick::Tells(Lie::NoHeads),
    Trick::Tells(Lie::AnotherLife),
    Trick::Bytes(BytesTrick::Other),
    Trick::Bytes(BytesTrick::Twice),
    Trick::Bytes(BytesTrick::HasNot),
    Trick::Says(Aside::AsksForBytes),
    Trick::Says(Aside::EndlessWants),
    Trick::Says(Aside::FloodOfRanges),
    Trick::Says(Aside::FloodOfHeads),
    Trick::Says(Aside::FloodOfOneLog),
    Trick::Says(Aside::FloodOfWants),
    Trick::Says(Aside::Unasked),
    Trick::Says(Aside::ForgedRights),
    Trick::Says(Aside::ForgedFork),
    Trick::Says(Aside::LongFrame),
    Trick::Says(Aside::MalformedFrame),
    Trick::Says(Aside::UnknownFrame),
    Trick::Breaks(Break::CutFrame),
    Trick::Breaks(Break::Silent),
    Trick::Breaks(Break::Deaf),
    Trick::Breaks(Break::FloodOfOps),
];

impl Options {
    /// In a quarter of the seeds.
    pub(super) fn some_cheats(&mut self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        // Whoever was set back and is not told so asks its peers what it said. One that hides that lets it sign twice.
        let unnoticed = |(_, act): &(u64, Act)| matches!(act, Act::SetBack { how: Back::InPlace, .. });
        if !entropy.chance(250_000) || self.acts.iter().any(unnoticed) {
            return Vec::new();
        }
        let shares = [None, Some(Share::All), Some(Share::Own), Some(Share::Publish), Some(Share::Contested)];
        let share = shares.get(entropy.index(shares.len())).copied().flatten();
        let sites = self.shape.sites();
        let first = entropy.index(sites);
        let second = (first + 1 + entropy.index(sites - 1)) % sites;
        let both = entropy.chance(600_000);
        let ends = [Some(first), both.then_some(second)].into_iter().flatten();
        let links: Vec<CheatLink> = ends.map(|site| some_link(site, entropy)).collect();
        let mut acts = Vec::new();
        for _ in 0..TRICKS_LEAST + entropy.below(TRICKS_MORE) {
            let often = if entropy.chance(400_000) { 4 } else { TRICKS.len() };
            let trick = TRICKS.get(entropy.index(often)).copied().unwrap_or(Trick::Signs(Signed::Package));
            let (at, link) = (entropy.below(self.healed_at), entropy.index(links.len()));
            acts.push((at, Act::Cheat { link, trick, pick: entropy.next() }));
        }
        self.faults.push(Fault::Cheat { share, links });
        acts
    }

    /// The same seed without the machine that keeps no rules.
    #[must_use]
    pub fn without_cheat(mut self) -> Self {
        self.faults.retain(|fault| !matches!(fault, Fault::Cheat { .. }));
        self.acts.retain(|(_, act)| !matches!(act, Act::Cheat { .. }));
        self
    }
}

fn some_link(site: usize, entropy: &mut Entropy) -> CheatLink {
    let mirror = Switches::MIRROR;
    let allow = match entropy.below(10) {
        0..6 => mirror,
        6 => Switches::PULL,
        7 => Switches::PUSH,
        8 => mirror.adds_only(),
        _ => Switches { in_delete: false, ..mirror },
    };
    CheatLink { site, dials: entropy.chance(700_000), allow }
}
