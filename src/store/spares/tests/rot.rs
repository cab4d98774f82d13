//! Words that rot where nothing else tells of them: no start and no new index takes back what was said last, or goes on as if nothing were lost.

use protocol::filter::Filter;
use protocol::id::{LogId, SiteId};
use protocol::link::{Dial, Link, LinkFeed};
use protocol::switches::Switches;
use protocol::time::Timestamp;

use super::*;
use crate::store::Cause;

impl Alone {
    /// Others may have what it says from here on.
    fn link(&self) {
        let (feed, switches) = (self.feed, Switches::MIRROR);
        let on = LinkFeed { feed, switches, filter: Filter::default(), expires: None };
        let (name, peer) = ("ny".to_owned(), SiteId([9; 32]));
        self.store.put_link(&Link::new(name.clone(), peer, name, Dial::Incoming, vec![on])).unwrap();
    }

    /// The last record of a kind in the newest pack.
    fn last(&self, kind: Kind) -> (u32, Place) {
        let newest = self.store.inner.packs.numbers().pop().unwrap();
        let places = self.store.inner.packs.contents(newest).unwrap().places;
        (newest, *places.iter().rfind(|place| place.header.kind == kind).unwrap())
    }
}

/// A start reads again what lies behind the checkpoint: what it cannot read of that the index has.
#[test]
fn what_was_taken_away_stays_away_when_the_word_of_that_rots_before_a_start() {
    for behind in [20, 64 + 9] {
        let mut alone = alone();
        alone.store.put_record(Shelf::Tokens, b"token", b"good").unwrap();
        alone.store.remove_record(Shelf::Tokens, b"token").unwrap();
        let place = alone.last(Kind::Meta);
        alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        alone.rot_at(&place, behind);
        assert_eq!(alone.store.record(Shelf::Tokens, b"token").unwrap(), None);
        // No checkpoint is written at the end, as where a process is killed.
        alone.stop();
        alone.start();
        assert_eq!(alone.store.record(Shelf::Tokens, b"token").unwrap(), None, "byte {behind}");
    }
}

/// The same of a site that was set back twice: it went on after the first time and waits since the second.
#[test]
fn a_site_that_waits_goes_on_waiting_when_the_note_of_that_rots_before_a_start() {
    for behind in [20, 64 + 9] {
        let mut alone = alone();
        let now = Timestamp(7);
        alone.store.awaken(Cause::SetBack, now).unwrap();
        alone.store.write_in(alone.feed, 9).unwrap();
        alone.store.awaken(Cause::SetBack, now).unwrap();
        let place = alone.last(Kind::Meta);
        alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        alone.rot_at(&place, behind);
        assert!(alone.store.waits(alone.feed).unwrap().is_some());
        alone.stop();
        alone.start();
        assert!(alone.store.waits(alone.feed).unwrap().is_some(), "byte {behind}");
    }
}

/// A word rots, the site is started again, and the pack is sealed as it is full: its footer is to tell of that as its bytes would.
#[test]
fn a_record_that_rotted_before_its_pack_was_sealed_is_missed_when_the_index_is_built_anew() {
    let mut wrong = Vec::new();
    for (behind, index_lost, checkpoint) in [
        (20, true, true),
        (20, true, false),
        (64 + 9, true, false),
        (20, false, true),
        (64 + 9, false, false),
    ] {
        let mut alone = alone();
        let said = alone.author.says(alone.feed, vec![publish("late", "1", b"late")]);
        alone.store.append(&[said]).unwrap();
        let place = alone.last(Kind::Ops);
        alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        if checkpoint {
            alone.store.checkpoint().unwrap();
        }
        alone.rot_at(&place, behind);
        alone.stop();
        alone.start();
        alone.store.inner.packs.close(place.0).unwrap();
        alone.store.put_record(Shelf::Settings, b"after", b"that").unwrap();
        if index_lost {
            alone.stop();
            alone.engine.set_aside().unwrap();
            alone.start();
        } else {
            alone.store.rebuild_index().unwrap();
            alone.store.look_after_rebuild().unwrap();
        }
        let held = alone.store.log_state(alone.author.log(alone.feed)).unwrap().unwrap().after.len();
        let waits = alone.store.waits(alone.feed).unwrap().is_some();
        if held < 94 && !waits {
            wrong.push((behind, index_lost, checkpoint, held));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A token, say. The index that is replaced knows better.
#[test]
fn what_was_taken_away_stays_away_when_the_word_of_that_rots_and_the_index_is_built_anew() {
    for behind in [20, 64 + 9] {
        let alone = alone();
        alone.store.put_record(Shelf::Tokens, b"token", b"good").unwrap();
        alone.store.remove_record(Shelf::Tokens, b"token").unwrap();
        let place = alone.last(Kind::Meta);
        alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        alone.store.checkpoint().unwrap();
        alone.rot_at(&place, behind);
        assert_eq!(alone.store.record(Shelf::Tokens, b"token").unwrap(), None);
        alone.store.rebuild_index().unwrap();
        alone.store.look_after_rebuild().unwrap();
        assert_eq!(alone.store.record(Shelf::Tokens, b"token").unwrap(), None, "byte {behind}");
    }
}

/// What lies in such a log is for this site alone.
#[test]
fn what_stays_at_home_stays_there_when_the_word_of_that_rots_and_the_index_is_built_anew() {
    let alone = alone();
    let home = LogId { epoch: 9, ..alone.author.log(alone.feed) };
    alone.store.keep_home(home).unwrap();
    let place = alone.last(Kind::Meta);
    alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
    alone.store.checkpoint().unwrap();
    alone.rot_at(&place, 64 + 9);
    assert_eq!(alone.store.overlays(alone.feed).unwrap(), [home]);
    alone.store.rebuild_index().unwrap();
    alone.store.look_after_rebuild().unwrap();
    assert_eq!(alone.store.overlays(alone.feed).unwrap(), [home]);
}

/// The note that it was set back rots, as it would in a store that never had damage before: there it is noted anew.
#[test]
fn a_site_that_waits_goes_on_waiting_whether_its_index_was_once_built_over_damage_or_not() {
    for over_damage in [false, true] {
        let mut alone = alone();
        if over_damage {
            let kept = alone.kept_twice();
            alone.rot_at(kept.iter().rfind(|(_, place)| place.header.kind == Kind::Outline).unwrap(), 64 + 9);
            alone.stop();
            alone.engine.set_aside().unwrap();
            alone.start();
            alone.store.verify(|_| {}).unwrap();
            ingest(&alone.store, &alone.large).unwrap();
            alone.store.mend(look(&alone.author)).unwrap();
            // It went on since, as whoever was told to.
            alone.store.write_in(alone.feed, 9).unwrap();
        }
        assert!(alone.store.waits(alone.feed).unwrap().is_none());
        alone.store.awaken(Cause::SetBack, Timestamp(7)).unwrap();
        let place = alone.last(Kind::Meta);
        alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        alone.rot_at(&place, 64 + 9);
        alone.stop();
        alone.start();
        assert!(alone.store.waits(alone.feed).unwrap().is_some(), "the index has it");
        // As after a sync that failed.
        alone.store.rebuild_index().unwrap();
        alone.store.look_after_rebuild().unwrap();
        assert!(alone.store.waits(alone.feed).unwrap().is_some(), "over damage: {over_damage}");
    }
}

/// With a word rots the note of the awakening after which it was decided where this site writes.
#[test]
fn a_site_that_lost_a_word_and_the_note_of_its_last_awakening_waits() {
    let mut alone = alone();
    alone.store.awaken(Cause::SetBack, Timestamp(7)).unwrap();
    let note = alone.last(Kind::Meta);
    alone.store.write_in(alone.feed, 1).unwrap();
    let said = alone.author.says(alone.feed, vec![publish("late", "1", b"late")]);
    alone.store.append(&[said]).unwrap();
    let word = alone.last(Kind::Ops);
    alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
    alone.store.checkpoint().unwrap();
    alone.rot_at(&note, 64 + 9);
    alone.rot_at(&word, 64 + 9);
    alone.stop();
    alone.engine.set_aside().unwrap();
    alone.start();
    assert!(alone.store.waits(alone.feed).unwrap().is_some());
}

/// A copy that is not whole, of a folder whose index need not be copied.
#[test]
fn a_site_that_lost_its_index_and_a_pack_that_is_not_the_newest_waits_until_it_heard_what_it_said() {
    let mut alone = alone();
    alone.link();
    let close = |alone: &Alone| {
        let newest = alone.store.inner.packs.numbers().pop().unwrap();
        alone.store.inner.packs.close(newest).unwrap();
        alone.store.inner.packs.numbers().pop().unwrap()
    };
    let lost = close(&alone);
    let said = alone.author.says(alone.feed, vec![publish("late", "1", b"late")]);
    alone.store.append(&[said]).unwrap();
    close(&alone);
    alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
    alone.store.checkpoint().unwrap();
    alone.stop();
    alone.disk.remove_pack(lost).unwrap();
    alone.engine.set_aside().unwrap();
    alone.start();
    let held = alone.store.log_state(alone.author.log(alone.feed)).unwrap().unwrap().after.len();
    assert!(
        held == 94 || alone.store.waits(alone.feed).unwrap().is_some(),
        "{held} of 94 ops, and it writes"
    );
}

/// Its header tells that nothing was said there, as it does before the checkpoint.
#[test]
fn a_site_that_lost_an_index_and_a_blob_alone_goes_on_writing() {
    for behind_checkpoint in [false, true] {
        let mut alone = alone();
        ingest(&alone.store, b"small").unwrap();
        let place = alone.last(Kind::Blob);
        alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        if !behind_checkpoint {
            alone.store.checkpoint().unwrap();
        }
        alone.rot_at(&place, 64 + 1);
        alone.stop();
        alone.engine.set_aside().unwrap();
        alone.start();
        alone.store.inner.packs.close(place.0).unwrap();
        alone.store.put_record(Shelf::Settings, b"after", b"that").unwrap();
        alone.store.rebuild_index().unwrap();
        alone.store.look_after_rebuild().unwrap();
        assert!(
            alone.store.waits(alone.feed).unwrap().is_none(),
            "behind the checkpoint: {behind_checkpoint}"
        );
    }
}

/// Two records of the newest pack go cleanly with a disk that did not hold what it had acknowledged, and the index went with it. Nothing here tells.
#[test]
fn a_linked_site_that_lost_its_index_and_the_end_of_its_newest_pack_waits_until_it_heard_what_it_said() {
    for (linked, stopped) in [(true, false), (false, false), (true, true)] {
        let mut alone = alone();
        if linked {
            alone.link();
        }
        alone.store.checkpoint().unwrap();
        for name in ["kept", "lost"] {
            let said = alone.author.says(alone.feed, vec![publish(name, "1", b"late")]);
            alone.store.append(&[said]).unwrap();
        }
        let (pack, place) = alone.last(Kind::Ops);
        if stopped {
            alone.store.checkpoint().unwrap();
        } else {
            alone.disk.damage(pack, |bytes| bytes.truncate(usize::try_from(place.offset).unwrap()));
        }
        alone.stop();
        alone.engine.set_aside().unwrap();
        alone.start();
        let waits = alone.store.waits(alone.feed).unwrap().is_some();
        assert_eq!(waits, linked && !stopped, "linked: {linked}, stopped: {stopped}");
    }
}

/// Else it would be set aside, and what it alone has would be gone with it.
#[test]
fn a_full_disk_sets_no_index_aside() {
    let alone = alone();
    alone.rot_at(&alone.kept_twice()[0], 64 + 9);
    alone.disk.hold_at_most(1000);
    assert!(alone.store.rebuild_index().is_err());
    alone.disk.hold_at_most(1 << 40);
    alone.store.rebuild_index().unwrap();
    alone.assert_whole("with room again");
}
