//! What one link takes away at once is held, unless it was never this site's to lose.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use protocol::grant::{Authority, Permitted};
use protocol::id::BlobId;
use protocol::log::{BatchError, Entry, Filling, Mmr, Reach, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Grant, Publish, Rights};
use protocol::package::{Coordinate, FeedKind};
use protocol::session::Memory;
use protocol::switches::Switches;
use protocol::time::Hlc;

use super::*;
use crate::identity::SiteKey;
use crate::keeper::tests::a_feed_where;
use crate::keeper::wall_clock;
use crate::store::Cause;
use crate::store::disk::fake::FakeDisk;

/// Longer than a look at what a link brings takes.
const WITHIN: Duration = Duration::from_millis(300);

/// A feed of this site's in which another one published 150 versions, in one batch, and says of each that it is gone, in a second one.
struct MassDeletion {
    disk: Arc<FakeDisk>,
    site: SiteStore,
    log: LogId,
    deletes: Verified,
}

fn at(n: u32) -> Coordinate {
    Coordinate::new(FeedKind::Raw, &format!("p{n}"), "1").unwrap()
}

fn publish(n: u32, bytes: &[u8]) -> Body {
    let file = File {
        name: "f".to_owned(),
        blob: BlobId(*blake3::hash(bytes).as_bytes()),
        size: 1,
        sha256: [0; 32],
    };
    let manifest = Manifest::of(vec![file]).unwrap();
    Body::Publish(Publish { coordinate: at(n), manifest, supersedes: Vec::new(), provenance: None })
}

fn delete(n: u32) -> Body {
    Body::Delete(Delete { coordinate: at(n), saw: Vec::new(), reason: "no longer".to_owned() })
}

/// What the other site says next, after what is held of it.
fn says(log: LogId, held: &Mmr, bodies: Vec<Body>, clock: Hlc) -> Verified {
    Verified::author(SiteKey::from_seed(&[2; 32]).signing_key(), log, held, bodies, clock, wall_clock())
}

fn mass_deletion() -> MassDeletion {
    mass_deletion_where(false)
}

fn mass_deletion_where(overwrite: bool) -> MassDeletion {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_where(Arc::clone(&disk), overwrite);
    let other = SiteKey::from_seed(&[2; 32]);
    let log = LogId { feed, author: other.site_id(), epoch: 1 };
    let rights = Grant {
        grantee: log.author,
        label: String::new(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    let site = SiteStore::new(store, key);
    site.author(feed, vec![Body::Grant(rights)]).unwrap();
    let said = says(log, &Mmr::default(), (0..150).map(|n| publish(n, b"x")).collect(), Hlc::default());
    let (held, clock) = (said.after().clone(), said.ops()[149].op.stamp);
    site.store().append(&[Permitted::local(said, false).unwrap()]).unwrap();
    let heads = vec![(log, Reach { len: 150, ..Reach::default() })];
    site.store().remember(log.author, "la", &Memory { known: None, heads }).unwrap();
    let deletes = says(log, &held, (0..150).map(delete).collect(), clock);
    MassDeletion { disk, site, log, deletes }
}

impl MassDeletion {
    fn trips(&self, brought: &Brought) -> bool {
        let held = before(&self.site, "la", self.log, self.deletes.ops(), brought, wall_clock()).unwrap();
        assert_eq!(held.is_some(), !self.site.store().open_holds(None).unwrap().is_empty());
        held.is_some()
    }
}

#[test]
fn deletions_of_much_that_stood_here_are_held() {
    let much = mass_deletion();
    assert!(much.trips(&Brought::new()));
    let earlier = mass_deletion();
    assert!(earlier.trips(&Brought::from([(earlier.log, 150)])), "what the run brought came after all of it");
}

/// To hold them would serve what was deleted before this site ever had it.
#[test]
fn deletions_of_what_came_in_the_same_run_are_not_held() {
    let much = mass_deletion();
    assert!(!much.trips(&Brought::from([(much.log, 0)])));
}

/// Nor of what came in a run before that was cut short: all ops come before any bytes do.
#[test]
fn deletions_of_what_a_cut_first_replication_brought_are_not_held() {
    let much = mass_deletion();
    much.site.store().forget(much.log.author, "la").unwrap();
    assert!(!much.trips(&Brought::new()));
    much.site.store().put_small(BlobId(*blake3::hash(b"x").as_bytes()), b"x").unwrap();
    assert!(much.trips(&Brought::new()), "whose bytes are here was had");
}

/// What the link brought first, and brings away, was another build of what stood here.
#[test]
fn deletions_of_what_was_built_anew_in_the_same_run_are_held() {
    for (overwrite, bytes) in [(true, b"y"), (false, b"x")] {
        let much = mass_deletion_where(overwrite);
        let held = much.site.store().log_state(much.log).unwrap().unwrap().after;
        let anew = says(much.log, &held, (0..150).map(|n| publish(n, bytes)).collect(), Hlc::default());
        let deletes = says(much.log, anew.after(), (0..150).map(delete).collect(), Hlc::default());
        much.site.store().append(&[Permitted::local(anew, false).unwrap()]).unwrap();
        assert!(MassDeletion { deletes, ..much }.trips(&Brought::from([(much.log, 150)])));
    }
}

impl MassDeletion {
    fn authority(&self) -> Arc<Authority> {
        self.site.store().authority(self.log.feed).unwrap().unwrap()
    }

    /// Takes in a run over a link that lets no deletions in but every tenth, which came from elsewhere.
    fn leave_out(&self, run: &Verified, is_left_out: impl Fn(usize) -> bool) {
        let mut thin = run.to_batch();
        for (nth, named) in run.ops().iter().enumerate().filter(|(nth, _)| is_left_out(*nth)) {
            thin.entries[nth] = Entry::Skip { height: 0, hash: named.id.0 };
        }
        let held =
            self.site.store().log_state(self.log).unwrap().map_or_else(Mmr::default, |held| held.after);
        let (thin, feed) = (thin.verify(&held).unwrap(), self.log.feed);
        let me = self.site.me();
        let permitted =
            Permitted::<Verified>::received(thin, feed, Switches::PULL, &self.authority(), me).unwrap();
        self.site.store().append(&[permitted]).unwrap();
    }

    /// What was left out comes, and what the brake makes of it.
    fn fill(&self, run: &Verified) -> bool {
        let gap = |seq| Ok::<_, BatchError>(self.site.store().gap(self.log, seq).unwrap());
        let filling = run.to_batch().filling(gap).unwrap();
        let trips = before(&self.site, "la", self.log, filling.ops(), &Brought::new(), wall_clock()).unwrap();
        let (feed, me) = (self.log.feed, self.site.me());
        let filling = Permitted::<Filling>::filled(filling, feed, Switches::PULL, &self.authority(), me);
        self.site.store().fill(&filling.unwrap()).unwrap();
        trips.is_some()
    }

    fn served(&self) -> u64 {
        standing(&self.site, self.log.feed).unwrap()
    }
}

/// They were never served here, and would be if the hold were over them.
#[test]
fn deletions_of_what_came_in_the_same_batch_lie_in_no_hold() {
    let much = mass_deletion();
    let held = much.site.store().log_state(much.log).unwrap().unwrap().after;
    let came = (150..300).flat_map(|n| [publish(n, b"y"), delete(n)]).chain((0..150).map(delete));
    let run = says(much.log, &held, came.collect(), Hlc::default());
    let none = Brought::new();
    assert!(before(&much.site, "la", much.log, run.ops(), &none, wall_clock()).unwrap().is_some());
    much.site.store().append(&[Permitted::local(run, false).unwrap()]).unwrap();
    assert_eq!(much.served(), 150);
    let (_, hold) = much.site.store().open_holds(None).unwrap().remove(0);
    assert_eq!(hold.stretches.iter().map(|(_, first, end)| end - first).sum::<u64>(), 150, "{hold:?}");
}

/// Two sites clear up the same, and a version is published again in between and goes again.
#[test]
fn versions_that_are_taken_away_twice_count_once_and_both_deletions_wait() {
    let much = mass_deletion();
    let third = SiteKey::from_seed(&[3; 32]);
    let rights = Grant {
        grantee: third.site_id(),
        label: String::new(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    much.site.author(much.log.feed, vec![Body::Grant(rights)]).unwrap();
    let log = LogId { author: third.site_id(), ..much.log };
    let bodies = (0..150).map(delete).collect();
    let too =
        Verified::author(third.signing_key(), log, &Mmr::default(), bodies, Hlc::default(), wall_clock());
    let none = Brought::new();
    let mut held = much.site.store().log_state(much.log).unwrap().unwrap().after;
    for said in [(0..60).map(delete).collect(), (0..60).map(|n| publish(n, b"z")).collect::<Vec<_>>()] {
        let run = says(much.log, &held, said, Hlc::default());
        assert!(before(&much.site, "la", much.log, run.ops(), &none, wall_clock()).unwrap().is_none());
        held = run.after().clone();
        much.site.store().append(&[Permitted::local(run, false).unwrap()]).unwrap();
    }
    let rest = says(much.log, &held, (0..150).map(delete).collect(), Hlc::default());
    assert!(before(&much.site, "la", much.log, rest.ops(), &none, wall_clock()).unwrap().is_some());
    much.site.store().append(&[Permitted::local(rest, false).unwrap()]).unwrap();
    assert!(before(&much.site, "ny", log, too.ops(), &none, wall_clock()).unwrap().is_none());
    much.site.store().append(&[Permitted::local(too, false).unwrap()]).unwrap();
    let (id, hold) = much.site.store().open_holds(None).unwrap().remove(0);
    assert_eq!((hold.deletes, hold.standing, much.served()), (150, 150, 150), "{hold:?}");
    much.site.approve(&HEXLOWER.encode(&id)).unwrap();
    assert_eq!(much.served(), 0);
}

/// A link is widened, and all that was taken away in years is to go in a moment.
#[test]
fn deletions_that_a_link_left_out_are_held_once_they_come_and_nothing_between_them_is_undone() {
    let much = mass_deletion();
    much.leave_out(&much.deletes, |nth| nth % 10 > 0);
    assert_eq!(much.served(), 135);
    assert!(much.fill(&much.deletes));
    assert_eq!(much.served(), 135, "what took effect long ago is not undone");
    let (_, hold) = much.site.store().open_holds(None).unwrap().remove(0);
    assert_eq!((hold.deletes, hold.standing), (135, 135), "{hold:?}");
    assert_eq!(hold.stretches.iter().map(|(_, first, end)| end - first).sum::<u64>(), 135);
}

/// They were here before.
#[test]
fn deletions_that_came_late_and_that_damage_took_are_not_held_when_they_come_again() {
    let much = mass_deletion();
    much.leave_out(&much.deletes, |_| true);
    let hold = much.fill(&much.deletes).then(|| much.site.store().open_holds(None).unwrap().remove(0).0);
    much.site.approve(&HEXLOWER.encode(&hold.unwrap())).unwrap();
    assert_eq!(much.served(), 0);
    much.site.store().lose_spares();
    much.disk.damage(1, |pack| {
        let at = pack.windows(9).rposition(|part| part == b"no longer").unwrap();
        pack[at] ^= 1;
    });
    much.site.store().verify(|_| {}).unwrap();
    assert_eq!(much.site.store().gaps(much.log).unwrap().0, 150, "lacking again");
    assert!(!much.fill(&much.deletes));
    assert_eq!(much.served(), 0);
}

/// The versions were never here: a link left them out as well.
#[test]
fn deletions_of_what_came_late_itself_are_not_held() {
    let much = mass_deletion();
    let held = much.site.store().log_state(much.log).unwrap().unwrap().after;
    let bodies = (150..300).map(|n| publish(n, b"y")).chain((150..300).map(delete)).collect();
    let run = says(much.log, &held, bodies, Hlc::default());
    much.leave_out(&run, |_| true);
    let heads = vec![(much.log, Reach { len: 450, ..Reach::default() })];
    much.site.store().remember(much.log.author, "la", &Memory { known: None, heads }).unwrap();
    let publishes = run.to_batch();
    let gap = |seq: u64| {
        let gap = much.site.store().gap(much.log, seq).unwrap();
        Ok::<_, BatchError>(gap.filter(|_| seq < 300))
    };
    let filling = publishes.filling(gap).unwrap();
    let filling = Permitted::<Filling>::filled(
        filling,
        much.log.feed,
        Switches::PULL,
        &much.authority(),
        much.site.me(),
    );
    much.site.store().fill(&filling.unwrap()).unwrap();
    assert_eq!(much.served(), 300);
    assert!(!much.fill(&run));
    assert_eq!(much.served(), 150);
}

/// To hold them would undo them where bits rot.
#[test]
fn deletions_that_damage_took_and_that_come_again_are_not_held() {
    let much = mass_deletion();
    much.site.store().append(&[Permitted::local(much.deletes.clone(), false).unwrap()]).unwrap();
    much.site.store().lose_spares();
    much.disk.damage(1, |pack| {
        let at = pack.windows(9).position(|part| part == b"no longer").unwrap();
        pack[at] ^= 1;
    });
    much.site.store().verify(|_| {}).unwrap();
    assert_eq!(much.site.store().log_state(much.log).unwrap().unwrap().after.len(), 150);
    assert!(!much.trips(&Brought::new()));
}

/// It knows not what it served when it was set back, and its own deletions may be among them.
#[test]
fn deletions_are_not_held_while_a_site_learns_what_it_said() {
    let much = mass_deletion();
    much.site.awaken(Cause::Restored { made: wall_clock() }, wall_clock()).unwrap();
    assert!(!much.trips(&Brought::new()));
}

/// In a mesh the same deletions come over several links, a part over each.
#[test]
fn deletions_of_much_that_come_over_two_links_at_once_are_held() {
    let much = mass_deletion();
    let held = much.site.store().log_state(much.log).unwrap().unwrap().after;
    let one = says(much.log, &held, (0..75).map(delete).collect(), Hlc::default());
    let rest = says(much.log, one.after(), (75..150).map(delete).collect(), Hlc::default());
    let mut trips = Vec::new();
    for (link, run) in [("la", one), ("london", rest)] {
        let none = Brought::new();
        let hold = before(&much.site, link, much.log, run.ops(), &none, wall_clock()).unwrap();
        trips.push(hold.is_some());
        much.site.store().append(&[Permitted::local(run, false).unwrap()]).unwrap();
    }
    assert_eq!(trips, [false, true]);
    let (_, hold) = much.site.store().open_holds(None).unwrap().remove(0);
    let of_both: u64 = hold.stretches.iter().map(|(_, first, end)| end - first).sum();
    assert_eq!((hold.deletes, of_both), (150, 150), "{hold:?}");
}

/// Two links bring the same to a site before either of them kept it.
#[test]
fn deletions_that_two_links_bring_at_the_same_time_count_once() {
    for part in [75, 150] {
        let much = mass_deletion();
        let none = Brought::new();
        let brings = |link: &str, ops: &[NamedOp]| {
            before(&much.site, link, much.log, ops, &none, wall_clock()).unwrap().is_some()
        };
        let (ops, all) = (much.deletes.ops(), much.deletes.ops().len());
        assert_eq!(brings("la", &ops[..part]), part == all);
        assert_eq!(brings("london", ops), part != all);
        let holds = much.site.store().open_holds(None).unwrap();
        assert_eq!(holds.iter().map(|(_, hold)| hold.deletes).collect::<Vec<_>>(), [150], "{holds:?}");
    }
}

/// What comes over another link alone would not be much.
#[test]
fn deletions_over_another_link_wait_with_those_that_are_held() {
    let much = mass_deletion();
    let none = Brought::new();
    let (ops, all) = (much.deletes.ops(), much.deletes.ops().len());
    let most = &ops[..all - 20];
    assert!(before(&much.site, "la", much.log, most, &none, wall_clock()).unwrap().is_some());
    let rest = &ops[all - 20..];
    assert!(before(&much.site, "london", much.log, rest, &none, wall_clock()).unwrap().is_none());
    let (_, hold) = much.site.store().open_holds(None).unwrap().pop().unwrap();
    let last = ops.last().unwrap().op.place.seq;
    assert!(hold.stretches.iter().any(|(log, from, to)| *log == much.log && (*from..*to).contains(&last)));
    assert_eq!(hold.deletes, 150, "{hold:?}");
}

/// Else a hold that was read before it was approved would be written again after that.
#[test]
fn what_a_link_brings_is_looked_at_before_a_hold_is_approved_or_after() {
    let much = mass_deletion();
    let brings =
        || before(&much.site, "la", much.log, much.deletes.ops(), &Brought::new(), wall_clock()).unwrap();
    let hold = brings().unwrap();
    let (done, ends) = mpsc::channel();
    std::thread::scope(|scope| {
        let going_on = locked(&much.site.inner.brakes);
        for approves in [true, false] {
            let (done, brings, site) = (done.clone(), &brings, &much.site);
            scope.spawn(move || {
                if approves {
                    assert!(site.approve(&HEXLOWER.encode(&hold)).unwrap().is_some());
                } else {
                    brings();
                }
                done.send(()).unwrap();
            });
        }
        assert_eq!(ends.recv_timeout(WITHIN), Err(mpsc::RecvTimeoutError::Timeout));
        drop(going_on);
    });
    let open = much.site.store().open_holds(None).unwrap();
    assert!(open.iter().all(|(id, _)| *id != hold));
}
