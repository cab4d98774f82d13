//! Lives of a site's store: one that is barred is refused at either side, and one that was set back is told.

use super::*;

fn with_barred(dialler: &Site, listener: &Site, barred_by_dialler: bool) -> Wire {
    let mut configs = [
        config(Side::Dialler, dialler, listener, Switches::MIRROR),
        config(Side::Listener, listener, dialler, Switches::MIRROR),
    ];
    if barred_by_dialler {
        configs[0].barred = vec![listener.store];
    } else {
        configs[1].barred = vec![dialler.store];
    }
    let [dialler, listener] = configs.map(|config| Session::new(config, Instant(0), WALL));
    Wire { dialler, listener, pieces_left: usize::MAX }
}

/// [P-57] Who bars a life hears of it, and the other end is told why it is not listened to.
#[test]
fn a_barred_life_is_refused_by_name_whoever_dials() {
    for barred_by_dialler in [true, false] {
        let (mut ny, mut la) = (Site::new(1), Site::new(2));
        ny.grant(&la);
        let mut wire = with_barred(&la, &ny, barred_by_dialler);
        wire.dialler.run(Instant(1), &la);
        wire.settle(&mut la, &mut ny);
        assert!(wire.dialler.is_closed() && wire.listener.is_closed());
        let (barring, barred) = if barred_by_dialler { (&la, &ny) } else { (&ny, &la) };
        assert_eq!(barring.notes, [Event::Doubled { life: barred.store }]);
        assert!(barred.notes.is_empty());
        let told = barred.closed.as_slice();
        assert_eq!(told, [Outcome::Refused(Reason::SiteCopied)], "dialler bars: {barred_by_dialler}");
    }
}

/// [P-56] A peer that took in what the store has lost says so by what it asks, in either direction.
#[test]
fn a_store_that_was_set_back_hears_so_from_whoever_saw_more_of_it() {
    for la_dials in [true, false] {
        let (mut ny, mut la) = (Site::new(1), Site::new(2));
        ny.grant(&la);
        la.publish("before", b"1");
        la.publish("lost", b"2");
        connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
        let log = la.own_log();
        la.runs.get_mut(&log).unwrap().pop();
        la.runs.remove(&ny.own_log());
        la.generation = 1;
        la.memory = Memory::default();
        let wire = |one: &Site, other: &Site| connect(one, other, Switches::MIRROR, Switches::MIRROR);
        if la_dials {
            wire(&la, &ny).sync(&mut la, &mut ny);
        } else {
            wire(&ny, &la).sync(&mut ny, &mut la);
        }
        // Who is told before it brings that back also shows it.
        let shown = (!la_dials).then_some(Event::Ahead { log, len: 2 });
        let told: Vec<Event> = [Event::SetBack].into_iter().chain(shown).collect();
        assert_eq!(la.notes, told, "la dials: {la_dials}");
        assert!(ny.notes.is_empty());
        assert_eq!(la.log(log).unwrap().len(), 2, "and what it lost came back");
    }
}

/// [P-56] A store was set back and has taken in so much since that its generation tells nobody: who holds more of its site's own log shows it,
/// also where nothing flows back, once a session.
#[test]
fn a_site_is_shown_what_it_said_before_it_was_set_back_and_its_store_grew() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    connect(&ny, &la, Switches::MIRROR, Switches::MIRROR).sync(&mut ny, &mut la);
    la.publish("before", b"1");
    la.publish("lost", b"2");
    let log = la.own_log();
    let mut wire = connect(&ny, &la, Switches::PULL, Switches::PUSH);
    wire.sync(&mut ny, &mut la);
    la.runs.get_mut(&log).unwrap().pop();
    la.generation += 1;
    for _ in 0..2 {
        wire.sync(&mut ny, &mut la);
        assert_eq!(la.notes, [Event::Ahead { log, len: 2 }]);
    }
    assert!(ny.notes.is_empty() && ny.log(log).unwrap().len() == 2);
}

/// [P-56] The peer took in what was lost, and lost what it noted of that with its power: by its notes nothing is new.
#[test]
fn a_site_is_shown_what_it_said_before_it_was_set_back_to_what_its_peer_last_noted() {
    for la_dials in [true, false] {
        let (mut ny, mut la) = (Site::new(1), Site::new(2));
        ny.grant(&la);
        connect(&ny, &la, Switches::MIRROR, Switches::MIRROR).sync(&mut ny, &mut la);
        la.publish("before", b"1");
        let log = la.own_log();
        let sync = |ny: &mut Site, la: &mut Site| {
            if la_dials {
                connect(la, ny, Switches::PUSH, Switches::PULL).sync(la, ny);
            } else {
                connect(ny, la, Switches::PULL, Switches::PUSH).sync(ny, la);
            }
        };
        sync(&mut ny, &mut la);
        let (noted, generation) = (ny.memory.clone(), la.generation);
        la.publish("lost", b"2");
        sync(&mut ny, &mut la);
        la.runs.get_mut(&log).unwrap().pop();
        (ny.memory, la.generation) = (noted, generation);
        la.notes.clear();
        sync(&mut ny, &mut la);
        assert_eq!(la.notes, [Event::Ahead { log, len: 2 }], "la dials: {la_dials}");
        assert!(ny.notes.is_empty() && ny.log(log).unwrap().len() == 2);
    }
}

/// [P-56] A machine was snapshot before anything was said in it, and set back to that.
#[test]
fn a_store_that_was_set_back_to_nothing_hears_so_as_well() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    la.publish("lost", b"1");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    la.runs.clear();
    la.generation = 0;
    la.memory = Memory::default();
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    assert_eq!(la.notes, [Event::SetBack]);
    assert_eq!(la.log(la.own_log()).unwrap().len(), 1, "and what it lost came back");
}

/// [P-56] What was lost never left the site, so that its peer has all of it and nothing to take in: it is told so once, and not at each run.
#[test]
fn a_store_that_was_set_back_is_told_so_once() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    la.publish("before", b"1");
    let sync = |la: &mut Site, ny: &mut Site| {
        connect(ny, la, Switches::MIRROR, Switches::MIRROR).sync(ny, la);
    };
    la.generation += 5;
    sync(&mut la, &mut ny);
    la.generation -= 5;
    sync(&mut la, &mut ny);
    assert_eq!(la.notes, [Event::SetBack]);
    sync(&mut la, &mut ny);
    assert_eq!(la.notes, [Event::SetBack], "told again");
}

/// A peer's store was set back, unnoticed, and took in so much since that what is told by generations leaves out two things: the beginning of
/// what a log grew by, which is asked for, and a whole log, which the comparison of heads then finds. Neither makes it a cheat.
#[test]
fn a_store_that_was_set_back_and_went_on_is_caught_up_with() {
    let (mut ny, mut la, mut other) = (Site::new(1), Site::new(2), Site::new(3));
    ny.grant(&la);
    ny.grant(&other);
    let sync =
        |la: &mut Site, ny: &mut Site| connect(ny, la, Switches::MIRROR, Switches::MIRROR).sync(ny, la).0;
    assert_eq!(sync(&mut la, &mut ny), Outcome::Done);
    la.publish("one", b"1");
    assert_eq!(sync(&mut la, &mut ny), Outcome::Done);
    let seen = std::mem::take(&mut la.generation);
    la.publish("two", b"2");
    other.publish("three", b"3");
    let (_, run) = other.runs[&other.own_log()][0].clone();
    la.append(Permitted::local(run, false).unwrap());
    la.blobs.append(&mut other.blobs);
    assert!(la.generation <= seen, "or they would be told");
    la.generation = seen;
    la.publish("four", b"4");
    assert_eq!(sync(&mut la, &mut ny), Outcome::Done);
    assert_eq!(ny.served(), la.served());
    assert_eq!(ny.served().len(), 4);
}

/// A site as it was after so many of its batches: restored by its people, so that its store is another one, or set back unnoticed.
fn restored(la: &Site, kept: usize, noticed: bool) -> Site {
    let (mut again, log) = (Site::new(2), la.own_log());
    if noticed {
        again.store = StoreId([99; 8]);
    }
    for (generation, run) in la.runs[&log].iter().take(kept) {
        again.runs.entry(log).or_default().push((*generation, run.clone()));
        again.generation = *generation;
    }
    again
}

/// [P-56] Two hundred ops, and a restore after each of them: whatever the backup knew, after one run the site has all it said, and what it says in
/// a later epoch contradicts none of it. A machine that was set back unnoticed is told so before it says anything.
#[test]
fn a_site_restored_to_any_point_of_its_history_loses_nothing_and_forks_nothing() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    for n in 0..150 {
        la.publish(&format!("package-{n}"), &[n]);
        if n % 3 == 2 {
            la.delete(&format!("package-{}", n - 1));
        }
    }
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    let (log, all) = (la.own_log(), la.served());
    let said = la.log(log).unwrap();
    assert_eq!((said.len(), la.runs[&log].len(), all.len()), (200, 200, 100));
    // A store gives what was said in several batches as one run.
    let mut whole = la.runs[&log][0].1.to_batch();
    for (_, run) in &la.runs[&log][1..] {
        whole.entries.extend(run.to_batch().entries);
        whole.head = run.head().clone();
    }
    ny.runs.insert(log, vec![(ny.generation, whole.verify(&Mmr::default()).unwrap())]);
    let unnoticed = (0..=200).step_by(5).map(|kept| (kept, false));
    for (kept, noticed) in (0..=200).map(|kept| (kept, true)).chain(unnoticed) {
        let about = format!("{kept} ops kept, noticed: {noticed}");
        let mut again = restored(&la, kept, noticed);
        let mut hub = Site::new(1);
        (hub.runs, hub.generation, hub.authority) = (ny.runs.clone(), ny.generation, ny.authority.clone());
        (hub.blobs, hub.memory) = (ny.blobs.clone(), ny.memory.clone());
        let mut wire = connect(&again, &hub, Switches::MIRROR, Switches::MIRROR);
        assert_eq!(wire.sync(&mut again, &mut hub).0, Outcome::Done, "{about}");
        assert_eq!(again.log(log).unwrap(), said, "{about}");
        // With all of its ops it still lacks the grant, which it took in after them.
        assert_eq!(again.notes.contains(&Event::SetBack), !noticed, "{about}: {:?}", again.notes);
        again.epoch = 7;
        again.publish("later", b"said after the restore");
        assert_eq!(wire.sync(&mut again, &mut hub).0, Outcome::Done, "{about}");
        for site in [&hub, &again] {
            assert_eq!(site.log(log).unwrap(), said, "{about}: the earlier epoch stays as it was");
            assert_eq!(site.log(again.own_log()).unwrap().len(), 1, "{about}");
            assert!(site.forks.is_empty() && site.closed.is_empty(), "{about}");
        }
        // What they serve follows from those two logs. It takes long to work out, and is looked at now and then.
        if kept % 50 == 0 {
            let (served, feed) = (hub.served(), genesis().feed_id());
            assert_eq!((&served, served.len()), (&again.served(), all.len() + 1), "{about}");
            assert!(all.iter().all(|(name, blob)| served.get(name) == Some(blob)), "{about}");
            assert!(
                again.missing(feed, &Filter::default()).unwrap().is_empty(),
                "{about}: the bytes came too"
            );
        }
    }
}
