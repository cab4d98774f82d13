//! What packs survive, and how often they sync.

use super::scan::Found;
use super::*;
use crate::store::disk::fake::FakeDisk;

const SALT: [u8; 32] = [9; 32];

fn open(disk: &FakeDisk, roll_bytes: u64) -> (Packs, Vec<Damage>) {
    Packs::open(Arc::new(disk.clone()), SALT, roll_bytes, Start::default()).unwrap()
}

fn draft(payload: &[u8]) -> Draft<'_> {
    Draft { kind: Kind::Meta, aux: 0, id: *blake3::hash(payload).as_bytes(), payload }
}

fn payloads(packs: &Packs) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for number in packs.numbers() {
        for place in packs.contents(number).unwrap().places {
            all.push(packs.read(place.location(number)).unwrap().unwrap().1);
        }
    }
    all
}

#[test]
fn records_are_read_back_across_packs_and_reopening() {
    let disk = FakeDisk::new();
    let written: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; usize::from(n) * 7]).collect();
    for part in written.chunks(10) {
        let (packs, damage) = open(&disk, 4096);
        assert!(damage.is_empty());
        for payload in part {
            packs.append(&[draft(payload)]).unwrap();
        }
        packs.wait_durable(packs.ticket()).unwrap();
    }
    let (packs, _) = open(&disk, 4096);
    assert!(packs.numbers().len() > 5, "{:?}", packs.numbers());
    assert_eq!(payloads(&packs), written);
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_survives() {
    let disk = FakeDisk::new();
    let (packs, _) = open(&disk, 1 << 20);
    packs.append(&[draft(b"first"), draft(b"second")]).unwrap();
    drop(packs);
    let whole = disk.used();
    disk.damage(1, |bytes| bytes.truncate(bytes.len() - 3));
    let (packs, damage) = open(&disk, 1 << 20);
    assert_eq!(damage, []);
    assert_eq!(payloads(&packs), [b"first"]);
    packs.append(&[draft(b"again!")]).unwrap();
    assert_eq!(disk.used(), whole);
    assert_eq!(payloads(&open(&disk, 1 << 20).0), [b"first".to_vec(), b"again!".to_vec()]);
}

#[test]
fn damage_with_records_behind_it_is_stepped_over_and_told() {
    for at in [70, 70 + 64] {
        let disk = FakeDisk::new();
        let (packs, _) = open(&disk, 1 << 20);
        packs.append(&[draft(&[1; 200]), draft(&[2; 200]), draft(&[3; 200])]).unwrap();
        drop(packs);
        disk.damage(1, |bytes| bytes[at] ^= 1);
        let (packs, damage) = open(&disk, 1 << 20);
        assert_eq!(payloads(&packs), [vec![2; 200], vec![3; 200]], "a flip at {at}");
        assert_eq!(damage.len(), 1);
        assert_eq!((damage[0].pack, damage[0].offset, damage[0].bytes), (1, 64, 264));
    }
}

#[test]
fn a_damaged_footer_costs_a_walk_and_no_record() {
    let disk = FakeDisk::new();
    let (packs, _) = open(&disk, 2048);
    for n in 0..20_u8 {
        packs.append(&[draft(&[n; 300])]).unwrap();
    }
    let before = payloads(&packs);
    drop(packs);
    disk.damage(1, |bytes| {
        let entry = bytes.len() - 50;
        bytes[entry] ^= 1;
    });
    disk.damage(2, |bytes| {
        let trailer = bytes.len() - 5;
        bytes[trailer] ^= 1;
    });
    assert_eq!(payloads(&open(&disk, 2048).0), before);
}

#[test]
fn a_record_inside_a_payload_is_never_taken_for_one() {
    let disk = FakeDisk::new();
    let other = FakeDisk::new();
    let (planted, _) = Packs::open(Arc::new(other.clone()), [1; 32], 1 << 20, Start::default()).unwrap();
    planted.append(&[draft(b"planted by a publisher")]).unwrap();
    let file = other.open_pack(1).unwrap();
    let mut pack = vec![0; usize::try_from(file.bytes().unwrap()).unwrap()];
    file.read_at(0, &mut pack).unwrap();
    let (packs, _) = open(&disk, 1 << 20);
    packs.append(&[draft(&pack), draft(b"behind")]).unwrap();
    drop(packs);
    disk.damage(1, |bytes| bytes[64] ^= 1);
    assert_eq!(payloads(&open(&disk, 1 << 20).0), [b"behind"]);
}

#[test]
fn callers_at_the_same_time_share_syncs_and_a_lone_one_waits_for_nobody() {
    let disk = FakeDisk::new();
    let (packs, _) = open(&disk, 64 << 20);
    packs.append(&[draft(b"begin")]).unwrap();
    packs.wait_durable(packs.ticket()).unwrap();
    let before = disk.syncs();
    let appended = packs.append(&[draft(b"alone")]).unwrap();
    packs.wait_durable(appended.ticket).unwrap();
    assert_eq!(disk.syncs() - before, 1);
    packs.wait_durable(appended.ticket).unwrap();
    assert_eq!(disk.syncs() - before, 1, "what is durable needs no sync");

    let before = disk.syncs();
    let tickets: Vec<_> = (0..100_u8).map(|n| packs.append(&[draft(&[n])]).unwrap().ticket).collect();
    std::thread::scope(|scope| {
        for ticket in tickets {
            let packs = &packs;
            scope.spawn(move || packs.wait_durable(ticket).unwrap());
        }
    });
    assert_eq!(disk.syncs() - before, 1, "one sync covers all that was appended before it");
}

#[test]
fn a_full_disk_refuses_and_writing_resumes_when_there_is_space() {
    let disk = FakeDisk::new();
    let (packs, _) = open(&disk, 4096);
    packs.append(&[draft(b"kept")]).unwrap();
    packs.wait_durable(packs.ticket()).unwrap();
    for extra in [10, 100, 1000, 3000] {
        disk.hold_at_most(disk.used() + extra);
        let refused = packs.append(&[draft(&[7; 5000])]).unwrap_err();
        assert!(matches!(refused, WriteError::DiskFull { .. }), "{refused:?}");
    }
    disk.hold_at_most(1 << 30);
    packs.append(&[draft(&[8; 5000])]).unwrap();
    packs.append(&[draft(b"last")]).unwrap();
    packs.wait_durable(packs.ticket()).unwrap();
    drop(packs);
    let (packs, damage) = open(&disk, 4096);
    assert_eq!(damage, []);
    assert_eq!(payloads(&packs), [b"kept".to_vec(), vec![8; 5000], b"last".to_vec()]);
}

#[test]
fn a_failed_sync_takes_back_what_was_not_durable_and_nothing_else() {
    let disk = FakeDisk::new();
    let (packs, _) = open(&disk, 1 << 20);
    let kept = packs.append(&[draft(b"kept")]).unwrap();
    packs.wait_durable(kept.ticket).unwrap();
    let first = packs.append(&[draft(b"lost")]).unwrap();
    let second = packs.append(&[draft(b"lost too")]).unwrap();
    disk.fail_next_sync();
    assert!(matches!(packs.wait_durable(first.ticket), Err(WriteError::Disk { .. })));
    assert!(matches!(packs.wait_durable(second.ticket), Err(WriteError::TakenBack { .. })));
    let again = packs.append(&[draft(b"again")]).unwrap();
    packs.wait_durable(again.ticket).unwrap();
    assert_eq!(payloads(&packs), [b"kept".to_vec(), b"again".to_vec()]);
    drop(packs);
    assert_eq!(payloads(&open(&disk, 1 << 20).0), [b"kept".to_vec(), b"again".to_vec()]);
}

#[test]
fn a_check_reads_every_record_and_names_the_bad_one() {
    let disk = FakeDisk::new();
    let (packs, _) = open(&disk, 2048);
    for n in 0..12_u8 {
        packs.append(&[draft(&[n; 300])]).unwrap();
    }
    packs.wait_durable(packs.ticket()).unwrap();
    disk.damage(1, |bytes| bytes[64 + 64 + 5] ^= 1);
    let (mut good, mut bad) = (0, Vec::new());
    for (number, file, end) in packs.all() {
        let visit = |found: &Found| match found {
            Found::Record { .. } => good += 1,
            Found::Spoilt { .. } | Found::Hole { .. } => bad.push(Damage::of(number, found).unwrap()),
        };
        packs.check(number, &*file, end, (0, u64::MAX), visit).unwrap();
    }
    assert_eq!((good, bad.len()), (11, 1));
    assert_eq!(bad[0].record.as_deref(), Some(blake3::hash(&[0; 300]).to_hex().as_str()));
}
