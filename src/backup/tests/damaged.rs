//! Packs that are damaged or gone at the site: the backup keeps what it has of them, and restores to all of it.

use protocol::time::Timestamp;

use super::*;
use crate::store::Look;

/// What the disk did to a pack.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Zeroed,
    Cut,
    Gone,
}

impl Harm {
    const ALL: [Self; 3] = [Self::Zeroed, Self::Cut, Self::Gone];

    fn befall(self, pack: &Path) {
        let mut bytes = fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Self::Zeroed => bytes[middle / 2..middle + middle / 2].fill(0),
            Self::Cut => bytes.truncate(middle),
            Self::Gone => return fs::remove_file(pack).unwrap(),
        }
        fs::write(pack, bytes).unwrap();
    }
}

const SMALL: u64 = 64 << 10;
const LARGE: u64 = 64 << 20;

const fn sized(pack_bytes: u64) -> Options {
    Options { pack_bytes, ..Options::new(77) }
}

/// The oldest and the newest pack in a folder.
fn packs(folder: &Path) -> [PathBuf; 2] {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    [names[0].clone(), names[names.len() - 1].clone()]
}

fn listed(lab: &Lab) -> Vec<String> {
    let manifest = Manifest::read(&lab.path("backup")).unwrap().unwrap();
    manifest.files.into_iter().map(|entry| entry.path).filter(|path| path.contains("packs")).collect()
}

/// Whatever befalls a pack, whether anybody looked before the next backup, and whether packs are sealed meanwhile.
#[test]
fn a_backup_over_damage_tells_it_and_restores_to_all_that_was_ever_in_it() {
    for pack_bytes in [SMALL, LARGE] {
        for harm in Harm::ALL {
            for newest in [false, true] {
                for looked in [false, true] {
                    let case = format!("{harm:?}, packs of {pack_bytes}, newest {newest}, looked {looked}");
                    let mut lab = Lab::new();
                    lab.reopen(sized(pack_bytes), |_| {});
                    lab.put(10);
                    assert_eq!(lab.backup(true).damaged, Vec::<String>::new(), "{case}");
                    lab.reopen(sized(pack_bytes), |_| {});
                    lab.reopen(sized(pack_bytes), |folder| harm.befall(&packs(folder)[usize::from(newest)]));
                    if looked {
                        lab.store.verify(|_| {}).unwrap();
                    }
                    for (round, count) in [(0, 3), (1, 5)] {
                        lab.put(count);
                        assert_ne!(lab.backup(true).damaged, Vec::<String>::new(), "{case}, round {round}");
                        assert_eq!(check(&lab.path("backup"), &mut quiet).unwrap().1, Vec::<String>::new());
                        let name = format!("new-{round}");
                        lab.restore(&name).unwrap();
                        let store = Store::open(&lab.path(&name).join("store"), Options::new(1)).unwrap();
                        for (n, (blob, bytes)) in lab.blobs.iter().enumerate() {
                            let read = store.read_extent(*blob, 0);
                            assert_eq!(read.ok().as_ref(), Some(bytes), "{case}, round {round}, blob {n}");
                        }
                        store.rebuild_index().unwrap();
                        for (blob, bytes) in &lab.blobs {
                            assert_eq!(&store.read_extent(*blob, 0).unwrap(), bytes, "{case}: built anew");
                        }
                        assert!(store.verify(|_| {}).unwrap().damage.is_empty(), "{case}, round {round}");
                        let look = Look { me: lab.key.site_id(), now: Timestamp(1) };
                        let open = store.open_damage(look).unwrap();
                        assert!(open.is_nothing(), "{case}, round {round}: {open:?}");
                    }
                }
            }
        }
    }
}

/// A backup that rotted is no reason to keep what is sound here out of it.
#[test]
fn a_copy_that_rotted_in_the_backup_gives_way_to_what_the_site_has() {
    let mut lab = Lab::new();
    lab.reopen(sized(LARGE), |_| {});
    lab.put(6);
    lab.backup(true);
    Harm::Zeroed.befall(&packs(&lab.path("backup/store/packs"))[0]);
    lab.put(2);
    assert_eq!(lab.backup(true).damaged, Vec::<String>::new());
    lab.restore("new").unwrap();
    lab.assert_has("new", 8);
}

#[test]
fn a_pack_that_was_given_back_leaves_the_backup_and_one_with_damage_that_nobody_found_stays() {
    for harmed in [false, true] {
        let mut lab = Lab::new();
        lab.put(12);
        lab.backup(true);
        let before = listed(&lab);
        lab.reopen(sized(SMALL), |folder| {
            if harmed {
                let pack = &packs(folder)[0];
                let mut bytes = fs::read(pack).unwrap();
                bytes[1_000] ^= 1;
                fs::write(pack, bytes).unwrap();
            }
        });
        let kept = lab.blobs[0].0;
        let look = Look { me: lab.key.site_id(), now: Timestamp(1) };
        for _ in 0..3 {
            lab.store.sweep(look, false, |blob, _| blob == kept).unwrap();
        }
        assert!(lab.store.reclaim(60).unwrap().packs >= 2);
        let damaged = lab.backup(true).damaged;
        let gone: Vec<_> = before.iter().filter(|path| !listed(&lab).contains(path)).collect();
        assert!(!gone.is_empty(), "what was given back leaves the backup");
        assert_eq!(before.iter().any(|path| path.ends_with("00000001.pak") && gone.contains(&path)), !harmed);
        assert_eq!(damaged.len(), usize::from(harmed), "{damaged:?}");
        if harmed {
            lab.restore("new").unwrap();
            let store = Store::open(&lab.path("new/store"), Options::new(1)).unwrap();
            assert_eq!(store.read_extent(kept, 0).unwrap(), lab.blobs[0].1);
        }
    }
}

/// Else every later backup would say that something is wrong.
#[test]
fn once_damage_is_mended_a_backup_lets_go_of_the_damaged_pack() {
    for pack_bytes in [SMALL, LARGE] {
        let mut lab = Lab::new();
        lab.reopen(sized(pack_bytes), |_| {});
        lab.put(10);
        lab.backup(true);
        lab.reopen(sized(pack_bytes), |folder| Harm::Zeroed.befall(&packs(folder)[0]));
        lab.store.verify(|_| {}).unwrap();
        assert_eq!(lab.backup(true).damaged.len(), 1);
        for (blob, bytes) in &lab.blobs {
            lab.store.put_small(*blob, bytes).unwrap();
        }
        lab.store.sync().unwrap();
        let look = Look { me: lab.key.site_id(), now: Timestamp(1) };
        assert_eq!(lab.store.mend(look).unwrap().packs, 1);
        assert_eq!(lab.backup(true).damaged, Vec::<String>::new());
        assert!(!listed(&lab).contains(&"store/packs/00000001.pak".to_owned()));
        lab.restore("new").unwrap();
        lab.assert_has("new", 10);
    }
}
