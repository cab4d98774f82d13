//! A machine that keeps no rules, in the midst of the others: it is admitted, cheats over and over, and goes away when the world heals. It does
//! not turn honest then: the others must agree without it, and what it alone had need not arrive.

use protocol::id::{BlobId, OpId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Block, Blocked, Body, Cut, Resolve, Revoke, Seal, Tip};
use protocol::session::Side;
use protocol::switches::Switches;

use super::{World, hang_up_at};
use crate::entropy::Entropy;
use crate::forgery;
use crate::net::{Line, SECOND};
use crate::options::{CONTESTED, CheatLink, Fault, Share, Signed, Trick, contested};
use crate::plant::Plant;
use crate::site::{LinkEnd, Site, Unsaid, genesis, grant_of};
use crate::topology::Link;

const NAME: &str = "the cheat";
const YEAR_MS: i64 = 365 * 24 * 3_600_000;
/// The most bytes of a package of its.
const BYTES_MAX: u64 = 20_000;
/// Blobs that it asks for at a time.
const BLOBS_MAX: usize = 64;

/// The machine that keeps no rules.
#[derive(Debug)]
pub(super) struct Cheat {
    pub(super) site: Site,
    share: Option<Share>,
    /// Its links, as those of the site after the last.
    links: Vec<Link>,
    /// When each of them runs next, and when its connection is closed before that.
    runs: Vec<(u64, Option<u64>)>,
    is_gone: bool,
}

impl Cheat {
    /// When something of it is due that no line brings.
    pub(super) fn due(&self) -> Option<u64> {
        let runs = self.runs.iter().flat_map(|(run, hang_up)| [Some(*run), *hang_up]).flatten();
        if self.is_gone { None } else { runs.chain(self.site.wake_at()).min() }
    }

    /// Its site, while it is there.
    pub(super) fn present(&mut self) -> Option<&mut Site> {
        (!self.is_gone).then_some(&mut self.site)
    }
}

impl World {
    pub(super) fn admit_cheat(&mut self, entropy: &Entropy) {
        let found = self.options.faults.iter().find_map(|fault| {
            if let Fault::Cheat { share, links } = fault { Some((*share, links.clone())) } else { None }
        });
        let (Some((share, ends)), Some(origin)) = (found, self.sites.first().map(Site::id)) else { return };
        let mut entropy = entropy.fork(NAME);
        let host = self.sites.len();
        let mut site = Site::new(NAME, host, &entropy);
        self.quic.boot(host, &site.key);
        // It takes what anybody says, and passes it on.
        site.plant(Some(Plant::RightsIgnored));
        site.join(genesis(origin));
        let mut links = Vec::new();
        for (at, end) in ends.iter().enumerate() {
            let delay = SECOND / 1000 * (10 + entropy.below(290));
            self.quic.net.lay(host, end.site, Line { delay, ..Line::default() });
            links.extend(self.join_cheat(at, *end, &mut site));
        }
        site.turn(self.feed, origin);
        self.oracle.doubled.insert(site.id());
        // What is where by its hands is not where rights and links of the others alone would bring it.
        self.oracle.ruled = true;
        if let Some(share) = share {
            self.give(grant_of(site.id(), share, None));
        }
        if let Some(origin) = self.sites.first() {
            site.adopt(self.feed, origin);
        }
        let runs = (0..links.len()).map(|at| (SECOND * (2 + at as u64), None)).collect();
        self.cheat = Some(Cheat { site, share, links, runs, is_gone: false });
    }

    fn join_cheat(&mut self, at: usize, end: CheatLink, cheat: &mut Site) -> Option<Link> {
        let honest = self.sites.get_mut(end.site)?;
        let (here, there) =
            if end.dials { (Side::Listener, Side::Dialler) } else { (Side::Dialler, Side::Listener) };
        let (name, all) = (format!("cheat-{at}"), Switches::MIRROR);
        honest.links.push(LinkEnd::new(name.clone(), cheat.host, cheat.id(), end.allow, here));
        cheat.links.push(LinkEnd::new(name, end.site, honest.id(), all, there));
        Some(if end.dials {
            Link { dialler: cheat.host, listener: end.site, ask: all, allow: end.allow, every: 1 }
        } else {
            Link { dialler: end.site, listener: cheat.host, ask: end.allow, allow: all, every: 1 }
        })
    }

    pub(super) fn run_cheat(&mut self) {
        let Some(cheat) = self.cheat.as_mut().filter(|cheat| !cheat.is_gone) else { return };
        for at in 0..cheat.links.len() {
            let (Some(link), Some((run, hang_up))) = (cheat.links.get(at), cheat.runs.get_mut(at)) else {
                continue;
            };
            let (runs, closes) = (*run <= self.now, hang_up.is_some_and(|at| at <= self.now));
            if closes {
                *hang_up = None;
            }
            if runs {
                *run = self.now + self.options.beat;
                *hang_up = hang_up_at(self.now, self.options.beat);
            }
            let dials = link.dialler == cheat.site.host;
            let dialler = if dials { Some(&mut cheat.site) } else { self.sites.get_mut(link.dialler) };
            let Some(dialler) = dialler else { continue };
            if closes {
                dialler.hang_up(self.now, &mut self.quic);
            }
            let name = format!("cheat-{at}");
            if let Some(link) = dialler.links.iter().position(|end| end.name == name).filter(|_| runs) {
                dialler.sync(self.now, &mut self.quic, link);
            }
        }
    }

    /// Everything gets as far as it does while links are as they are, those of the cheat among them.
    pub(super) fn flow(&mut self) {
        let mut shape = self.shape.clone();
        if let Some(cheat) = &self.cheat {
            shape.authors.push(cheat.share.is_some());
            if !cheat.is_gone {
                shape.links.extend(cheat.links.iter().cloned());
            }
        }
        self.oracle.flow(&shape);
    }

    /// Notes what the cheat signed on the way to a peer.
    pub(super) fn note_cheat(&mut self) {
        let forged = self.cheat.as_mut().map(|cheat| cheat.site.forged());
        for named in forged.unwrap_or_default() {
            self.quic.trace.line(self.now, &format!("{NAME} signs {} for one peer alone", named.id));
            self.oracle.note_double(self.sites.len(), named);
        }
    }

    pub(super) fn send_cheat_away(&mut self) {
        self.note_cheat();
        self.flow();
        let Some(cheat) = &mut self.cheat else { return };
        cheat.is_gone = true;
        self.quic.boot(cheat.site.host, &cheat.site.key);
        self.quic.trace.line(self.now, &format!("{NAME} goes away"));
    }

    pub(super) fn cheat(&mut self, link: usize, trick: Trick, pick: u64) {
        self.interruptions += 1;
        let (now, feed) = (self.now, self.feed);
        let blobs = self.some_blobs(pick);
        let ids: Vec<SiteId> = self.sites.iter().map(Site::id).collect();
        let Some(Cheat { site, share, .. }) = self.cheat.as_mut() else { return };
        let named = pick.is_multiple_of(3) || *share == Some(Share::Contested);
        let name = if named { contested(pick % CONTESTED) } else { format!("p{now}-cheat") };
        let bytes = usize::try_from(1 + pick % BYTES_MAX).unwrap_or(1);
        let content = Entropy::new(pick).bytes(bytes);
        let said = match trick {
            Trick::Signs(Signed::Package) => site.publish(now, feed, &name, &content),
            Trick::Signs(Signed::Future) => {
                site.clock_ahead_ms += YEAR_MS;
                let said = if named {
                    site.delete(now, feed, &name).map(Some)
                } else {
                    site.publish(now, feed, &name, &content)
                };
                site.clock_ahead_ms -= YEAR_MS;
                said
            }
            Trick::Signs(Signed::BeyondRights) => beyond(site, now, feed, pick, &ids),
            Trick::Ops(_)
            | Trick::Relays(_)
            | Trick::Tells(_)
            | Trick::Bytes(_)
            | Trick::Says(_)
            | Trick::Breaks(_) => {
                site.plan(now, link, trick, pick, blobs);
                Ok(None)
            }
        };
        self.quic.trace.line(now, &format!("{NAME} plans {trick:?} on its link {link}"));
        self.note_said(said);
    }

    fn note_said(&mut self, said: Result<Option<NamedOp>, Unsaid>) {
        let named = match said {
            Ok(named) => named,
            Err(Unsaid { doubtful }) => doubtful.map(|named| *named),
        };
        if let Some(named) = named {
            self.quic
                .trace
                .line(self.now, &format!("{NAME} says {}: {}", named.op.body.kind_name(), named.id));
            self.oracle.note_double(self.sites.len(), named);
        }
    }

    /// Blobs of which somebody spoke, wherever they are.
    fn some_blobs(&self, pick: u64) -> Vec<BlobId> {
        let publishes = self.oracle.facts(&self.sites).filter_map(|fact| fact.publish());
        let mut blobs: Vec<BlobId> =
            publishes.flat_map(|publish| publish.manifest.files.iter().map(|file| file.blob)).collect();
        let first = Entropy::new(pick).index(blobs.len());
        blobs.rotate_left(first);
        blobs.truncate(BLOBS_MAX);
        blobs
    }
}

/// Says what its author has no right to say, or not here.
fn beyond(
    site: &mut Site,
    now: u64,
    feed: protocol::id::FeedId,
    pick: u64,
    ids: &[SiteId],
) -> Result<Option<NamedOp>, Unsaid> {
    let mut entropy = Entropy::new(pick);
    let items: Vec<_> = site.items(now, feed).into_iter().filter(|(_, item)| item.winner.is_some()).collect();
    let item = items.get(entropy.index(items.len()));
    let name = item.map_or_else(|| contested(0), |(name, _)| name.clone());
    let other = ids.get(entropy.index(ids.len())).copied().unwrap_or(SiteId([0; 32]));
    let tip = |len| Tip { author: other, epoch: 1, len, root: [0; 32] };
    let stranger = SiteId(forgery::stranger().verifying_key().to_bytes());
    let coordinate = || forgery::coordinate(&name);
    let reason = String::new;
    let body = match entropy.below(9) {
        0 => return site.delete(now, feed, &name).map(Some),
        1 => return site.publish(now, feed, &format!("x{now}"), &pick.to_le_bytes()),
        2 => Body::Grant(grant_of(stranger, Share::All, None)),
        3 => Body::Grant(grant_of(site.id(), Share::All, None)),
        4 => Body::Revoke(Revoke { grantee: other, accepted: vec![], reason: reason() }),
        5 => Body::Block(Block { target: Blocked::Coordinate(coordinate()), reason: reason() }),
        6 => Body::Seal(Seal { index: 1, frontier: vec![tip(1000)], state_root: [0; 32] }),
        7 => {
            let clash = item.and_then(|(_, item)| item.clash.first().copied());
            Body::Resolve(Resolve { coordinate: coordinate(), winner: clash.unwrap_or(OpId([1; 32])) })
        }
        _ => Body::Cut(Cut {
            tip: tip(0),
            signed: site.wall(now),
            succession: Default::default(),
            signature: vec![0; 64],
            reason: reason(),
        }),
    };
    site.say(now, feed, body).map(Some)
}
