//! What one link takes away at once is held, unless it was never this site's to lose.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use protocol::grant::Permitted;
use protocol::id::BlobId;
use protocol::log::{Mmr, Reach, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Delete, Grant, Publish, Rights};
use protocol::package::{Coordinate, FeedKind};
use protocol::session::Memory;
use protocol::time::Hlc;

use super::*;
use crate::identity::SiteKey;
use crate::keeper::tests::a_feed_on;
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

fn mass_deletion() -> MassDeletion {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_on(Arc::clone(&disk));
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
    let at = |n: u32| Coordinate::new(FeedKind::Raw, &format!("p{n}"), "1").unwrap();
    let publish = |n| Publish {
        coordinate: at(n),
        manifest: Manifest::of(vec![File {
            name: "f".to_owned(),
            blob: BlobId(*blake3::hash(b"x").as_bytes()),
            size: 1,
            sha256: [0; 32],
        }])
        .unwrap(),
        supersedes: Vec::new(),
        provenance: None,
    };
    let says = |held: &Mmr, bodies, clock| {
        Verified::author(other.signing_key(), log, held, bodies, clock, wall_clock())
    };
    let said = says(&Mmr::default(), (0..150).map(|n| Body::Publish(publish(n))).collect(), Hlc::default());
    let (held, clock) = (said.after().clone(), said.ops()[149].op.stamp);
    site.store().append(&[Permitted::local(said, false).unwrap()]).unwrap();
    let heads = vec![(log, Reach { len: 150, ..Reach::default() })];
    site.store().remember(log.author, "la", &Memory { known: None, heads }).unwrap();
    let delete = |n| Delete { coordinate: at(n), saw: Vec::new(), reason: "no longer".to_owned() };
    let deletes = says(&held, (0..150).map(|n| Body::Delete(delete(n))).collect(), clock);
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
    let other = SiteKey::from_seed(&[2; 32]);
    let held = much.site.store().log_state(much.log).unwrap().unwrap().after;
    let bodies: Vec<Body> = much.deletes.ops().iter().map(|named| named.op.body.clone()).collect();
    let (one, rest) = bodies.split_at(75);
    let says = |held: &Mmr, bodies: &[Body]| {
        Verified::author(other.signing_key(), much.log, held, bodies.to_vec(), Hlc::default(), wall_clock())
    };
    let one = says(&held, one);
    let rest = says(one.after(), rest);
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
