//! Backups taken, brought up to date, cut short, damaged, and made into folders again.

mod damaged;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::id::BlobId;
use tempfile::TempDir;

use super::*;
use crate::identity::{LoadKeyError, SiteKey};
use crate::store::{Options, Store};

/// A site with a store of many small packs.
struct Lab {
    folder: TempDir,
    key: SiteKey,
    store: Store,
    blobs: Vec<(BlobId, Vec<u8>)>,
}

fn quiet(_done: u64, _of: u64) {}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SiteKey::create(&folder.path().join("data").join(KEY)).unwrap();
        fs::write(folder.path().join("data").join(SETTINGS), b"name = \"LA\"\n").unwrap();
        let options = Options { pack_bytes: 64 << 10, ..Options::new(77) };
        let store = Store::open(&folder.path().join("data/store"), options).unwrap();
        Self { folder, key, store, blobs: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops the store, changes what it has on disk, and opens it again.
    fn reopen(&mut self, options: Options, change: impl FnOnce(&Path)) {
        let meanwhile = Store::open(&self.path("meanwhile"), Options::new(5)).unwrap();
        drop(std::mem::replace(&mut self.store, meanwhile));
        change(&self.path("data/store/packs"));
        self.store = Store::open(&self.path("data/store"), options).unwrap();
    }

    fn put(&mut self, count: u8) {
        for _ in 0..count {
            let n = u8::try_from(self.blobs.len()).unwrap();
            let bytes = vec![n; 20_000];
            let blob = BlobId(*blake3::hash(&bytes).as_bytes());
            self.store.put_small(blob, &bytes).unwrap();
            self.blobs.push((blob, bytes));
        }
        self.store.sync().unwrap();
    }

    fn source<'a>(&self, data: &'a Path, with_key: bool) -> Source<'a> {
        let key = SiteKey::load(&data.join(KEY)).unwrap();
        let (site, key_number) = (key.site_id().to_string(), key.succession().generation());
        Source { data, site, key_number, name: "LA".to_owned(), now_ms: 5, with_key }
    }

    fn try_backup(&self, with_key: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Backed, BackupError> {
        let data = self.path("data");
        backup(&self.path("backup"), &self.source(&data, with_key), || self.store.snapshot(), progress)
    }

    fn backup(&self, with_key: bool) -> Backed {
        self.try_backup(with_key, &mut quiet).unwrap()
    }

    fn restore(&self, to: &str) -> Result<Restored, RestoreError> {
        restore(&self.path("backup"), &self.path(to), None, 99 << 80, &mut quiet)
    }

    /// The first `count` blobs are in the folder's store, and it is whole.
    fn assert_has(&self, data: &str, count: usize) {
        let store = Store::open(&self.path(data).join("store"), Options::new(1)).unwrap();
        assert!(store.damage_at_open().is_empty());
        for (blob, bytes) in &self.blobs[..count] {
            assert_eq!(&store.read_extent(*blob, 0).unwrap(), bytes);
        }
        assert!(store.verify(|_| {}).unwrap().damage.is_empty());
    }
}

#[test]
fn a_second_backup_copies_what_is_new_and_both_restore_to_what_was_there() {
    let mut lab = Lab::new();
    lab.put(20);
    let first = lab.backup(true);
    assert_eq!(first.copied_bytes, first.bytes);
    lab.put(3);
    let second = lab.backup(true);
    assert!(second.bytes > first.bytes, "{second:?}");
    assert!(second.copied_bytes < second.bytes / 3, "sealed packs are taken over: {second:?}");
    assert_eq!(check(&lab.path("backup"), &mut quiet).unwrap().1, Vec::<String>::new());
    lab.restore("new").unwrap();
    lab.assert_has("new", 23);
    let key = SiteKey::load(&lab.path("new").join(KEY)).unwrap();
    assert_eq!(key.site_id(), lab.key.site_id());
    assert_eq!(fs::read(lab.path("new").join(SETTINGS)).unwrap(), b"name = \"LA\"\n");
    let both = crate::store::FORMAT_FILES.map(|name| fs::read(lab.path("new/store").join(name)).unwrap());
    assert_eq!(both[0], both[1], "FORMAT and its spare are of one life");
    let restored = Store::open(&lab.path("new").join("store"), Options::new(1)).unwrap();
    assert_ne!(restored.id(), lab.store.id(), "peers tell the two lives apart");
}

#[test]
fn a_backup_that_is_cut_short_at_any_moment_leaves_the_one_before_whole() {
    let mut lab = Lab::new();
    lab.put(12);
    lab.backup(true);
    lab.put(12);
    for cut in 0..8 {
        let mut steps = 0;
        let cut_short = std::panic::catch_unwind(AssertUnwindSafe(|| {
            lab.try_backup(true, &mut |_, _| {
                steps += 1;
                assert!(steps <= cut, "the power goes");
            })
        }));
        if cut_short.is_ok() {
            break;
        }
        assert_eq!(check(&lab.path("backup"), &mut quiet).unwrap().1, Vec::<String>::new(), "cut at {cut}");
        let name = format!("new-{cut}");
        lab.restore(&name).unwrap();
        lab.assert_has(&name, 12);
    }
    lab.backup(true);
    lab.restore("at-last").unwrap();
    lab.assert_has("at-last", 24);
}

/// Settings and key may have changed since, and a backup that fails behind them, of a disk that is full to its last byte, replaced them.
#[test]
fn a_backup_that_is_cut_short_behind_changed_settings_and_key_leaves_the_one_before_whole() {
    let mut lab = Lab::new();
    lab.put(3);
    lab.backup(true);
    let settings = lab.path("data").join(SETTINGS);
    fs::write(&settings, b"name = \"San Diego\"\n").unwrap();
    let key = lab.path("data").join(KEY);
    let later = lab.key.followed_by(&[2; 32]);
    fs::remove_file(&key).unwrap();
    later.copy_to(&key).unwrap();
    // Where the manifest is written first.
    fs::create_dir(lab.path("backup").join("MANIFEST.draft")).unwrap();
    lab.try_backup(true, &mut quiet).unwrap_err();
    assert_eq!(check(&lab.path("backup"), &mut quiet).unwrap().1, Vec::<String>::new());
    lab.restore("before").unwrap();
    lab.assert_has("before", 3);
    assert_eq!(fs::read(lab.path("before").join(SETTINGS)).unwrap(), b"name = \"LA\"\n");

    fs::remove_dir(lab.path("backup").join("MANIFEST.draft")).unwrap();
    lab.backup(true);
    lab.restore("after").unwrap();
    assert_eq!(fs::read(lab.path("after").join(SETTINGS)).unwrap(), fs::read(&settings).unwrap());
    assert_eq!(fs::read(lab.path("after").join(KEY)).unwrap(), fs::read(&key).unwrap());
}

/// The one that ends first removes what the other one's manifest names, and the one that ends last is of the earlier moment.
#[test]
fn of_two_backups_into_one_folder_at_once_one_is_refused_by_its_name() {
    let mut lab = Lab::new();
    lab.put(12);
    let mut refused = 0;
    lab.try_backup(true, &mut |_, _| {
        let other = lab.try_backup(true, &mut quiet);
        assert!(matches!(other, Err(BackupError::UnderWay { .. })), "{other:?}");
        refused += 1;
    })
    .unwrap();
    assert!(refused > 0);
    lab.backup(true);
    lab.restore("new").unwrap();
    lab.assert_has("new", 12);
}

/// Sites that have not heard of the newer key know this one by the older.
#[test]
fn a_key_that_is_still_shown_goes_along_with_the_newer_one() {
    let mut lab = Lab::new();
    lab.put(1);
    let older = lab.path("data").join(OLDER_KEY);
    let path = lab.path("data").join(KEY);
    let first = SiteKey::load(&path).unwrap();
    first.copy_to(&older).unwrap();
    first.followed_by(&[2; 32]).replace(&path).unwrap();
    lab.backup(true);
    lab.restore("both").unwrap();
    assert_eq!(fs::read(lab.path("both").join(OLDER_KEY)).unwrap(), fs::read(&older).unwrap());
    fs::remove_file(&older).unwrap();
    lab.backup(true);
    lab.restore("one").unwrap();
    assert!(!lab.path("one").join(OLDER_KEY).exists() && !lab.path("backup").join(OLDER_KEY).exists());
}

/// No node would start on it, and the newer key would be gone with the backup.
#[test]
fn nothing_is_restored_with_an_older_key_than_the_backup_has() {
    let mut lab = Lab::new();
    lab.put(1);
    let (path, older) = (lab.path("data").join(KEY), lab.path("older").join("site.key"));
    let first = SiteKey::load(&path).unwrap();
    first.copy_to(&older).unwrap();
    let second = first.followed_by(&[2; 32]);
    second.replace(&path).unwrap();
    lab.backup(true);
    let with = |key: &Path| restore(&lab.path("backup"), &lab.path("new"), Some(key), 9, &mut quiet);
    let refused = with(&older).unwrap_err();
    assert!(matches!(&refused, RestoreError::OlderKey { given } if *given == older), "{refused}");
    assert!(!lab.path("new").exists(), "nothing was made");
    lab.backup(false);
    assert!(
        matches!(with(&older), Err(RestoreError::OlderKey { .. })),
        "it holds none, and knows of the newer one"
    );
    lab.backup(true);
    second.followed_by(&[3; 32]).replace(&path).unwrap();
    with(&path).expect("a newer key than the backup has");
}

/// Sites that were not shown the newer key know this one by the key that the backup holds.
#[test]
fn the_key_of_a_backup_is_kept_beside_a_newer_one_that_is_given() {
    let mut lab = Lab::new();
    lab.put(1);
    let path = lab.path("data").join(KEY);
    let first = SiteKey::load(&path).unwrap();
    let second = first.followed_by(&[2; 32]);
    second.replace(&path).unwrap();
    first.copy_to(&lab.path("data").join(OLDER_KEY)).unwrap();
    lab.backup(true);
    second.followed_by(&[3; 32]).replace(&path).unwrap();
    restore(&lab.path("backup"), &lab.path("new"), Some(&path), 9, &mut quiet).unwrap();
    let older = SiteKey::load(&lab.path("new").join(OLDER_KEY)).unwrap();
    assert_eq!(older.succession(), second.succession());
}

/// Else the first backup, which takes longest, could not be done again in its place.
#[test]
fn a_first_backup_that_is_cut_short_is_done_again_in_its_place() {
    let mut lab = Lab::new();
    lab.put(12);
    for cut in 0..4 {
        let mut steps = 0;
        let cut_short = std::panic::catch_unwind(AssertUnwindSafe(|| {
            lab.try_backup(true, &mut |_, _| {
                steps += 1;
                assert!(steps <= cut, "the power goes");
            })
        }));
        assert!(cut_short.is_err(), "cut at {cut}");
    }
    // Cut between the place for the key and the key.
    owner_only::make_directory(&lab.path("backup/key")).unwrap();
    lab.backup(true);
    lab.restore("new").unwrap();
    lab.assert_has("new", 12);
    for place in ["data", "data/store", "new"] {
        let data = lab.path("data");
        let refused = backup(&lab.path(place), &lab.source(&data, true), || lab.store.snapshot(), &mut quiet);
        assert!(matches!(refused, Err(BackupError::Occupied { .. })), "{place}: {refused:?}");
    }
}

#[test]
fn a_backup_taken_while_others_write_is_whole() {
    let mut lab = Lab::new();
    lab.put(10);
    let (store, stop) = (lab.store.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n: u64 = 0;
            while !stop.load(Ordering::Relaxed) {
                let bytes = [&n.to_le_bytes()[..], &[7; 9_000]].concat();
                store.put_small(BlobId(*blake3::hash(&bytes).as_bytes()), &bytes).unwrap();
                n += 1;
            }
        });
        for round in 0..5 {
            lab.backup(true);
            let name = format!("new-{round}");
            lab.restore(&name).unwrap();
            lab.assert_has(&name, 10);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn each_damaged_file_is_named_and_nothing_is_restored_from_it() {
    let mut lab = Lab::new();
    lab.put(8);
    lab.backup(true);
    let folder = lab.path("backup");
    let manifest = Manifest::read(&folder).unwrap().unwrap();
    for (n, entry) in manifest.files.iter().enumerate() {
        let path = entry.path_in(&folder);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        for bytes in [bad, good[..good.len() - 1].to_vec()] {
            fs::write(&path, bytes).unwrap();
            let found = check(&folder, &mut quiet).unwrap().1;
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&entry.path), "{found:?}");
            let refused = lab.restore(&format!("new-{n}"));
            assert!(matches!(refused, Err(RestoreError::Damaged { .. })), "{}: {refused:?}", entry.path);
            assert!(!lab.path(&format!("new-{n}")).join("store").exists());
            assert!(!lab.path(&format!("new-{n}")).join(KEY).exists());
        }
        fs::write(&path, good).unwrap();
        lab.restore(&format!("new-{n}")).unwrap();
    }
    let path = folder.join("MANIFEST");
    let mut text = fs::read(&path).unwrap();
    text[30] ^= 1;
    fs::write(&path, text).unwrap();
    assert!(matches!(check(&folder, &mut quiet), Err(ManifestError::Damaged { .. })));
    assert!(matches!(lab.restore("late"), Err(RestoreError::Manifest(ManifestError::Damaged { .. }))));
    assert!(matches!(lab.try_backup(true, &mut quiet), Err(BackupError::Manifest(_))));
}

#[test]
fn nothing_is_restored_over_a_site_nor_with_another_sites_key() {
    let mut lab = Lab::new();
    lab.put(2);
    lab.backup(false);
    assert!(matches!(lab.restore("data"), Err(RestoreError::NoKey)));
    let from = lab.path("backup");
    let with = |key: &Path, to: &str| restore(&from, &lab.path(to), Some(key), 9, &mut quiet);
    let own = lab.path("data").join(KEY);
    assert!(matches!(with(&own, "data"), Err(RestoreError::Occupied { .. })));
    let other = lab.path("other").join("site.key");
    SiteKey::create(&other).unwrap();
    assert!(matches!(with(&other, "new"), Err(RestoreError::OtherKey { .. })));
    let missing = with(&lab.path("data/key/nowhere"), "new");
    assert!(matches!(missing, Err(RestoreError::Key(LoadKeyError::Missing { .. }))), "{missing:?}");
    assert!(!lab.path("new").exists(), "nothing was made");
    // A restore that was cut short before is begun anew, also where the settings had their place already.
    fs::create_dir_all(lab.path("new/store.restoring/packs")).unwrap();
    fs::write(lab.path("new").join(SETTINGS), b"name = \"LA\"\n").unwrap();
    with(&own, "new").unwrap();
    lab.assert_has("new", 2);
    fs::create_dir_all(lab.path("set")).unwrap();
    fs::write(lab.path("set").join(SETTINGS), b"name = \"mine\"\n").unwrap();
    assert!(matches!(with(&own, "set"), Err(RestoreError::Occupied { .. })), "these are somebody's own");
    assert!(matches!(
        restore(&lab.path("other"), &lab.path("x"), None, 9, &mut quiet),
        Err(RestoreError::Manifest(_))
    ));
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let mut lab = Lab::new();
    lab.put(2);
    fs::create_dir_all(lab.path("backup")).unwrap();
    fs::write(lab.path("backup/mine.txt"), b"mine").unwrap();
    assert!(matches!(lab.try_backup(true, &mut quiet), Err(BackupError::Occupied { .. })));
    fs::remove_file(lab.path("backup/mine.txt")).unwrap();
    lab.backup(true);
    let data = lab.path("data");
    let stranger = Source { site: "another".to_owned(), ..lab.source(&data, true) };
    let refused = backup(&lab.path("backup"), &stranger, || lab.store.snapshot(), &mut quiet);
    assert!(matches!(refused, Err(BackupError::Occupied { .. })), "{refused:?}");
    let later = Snapshot { life: "another".to_owned(), ..lab.store.snapshot().unwrap() };
    let refused = backup(&lab.path("backup"), &lab.source(&data, true), || Ok(later), &mut quiet);
    assert!(matches!(refused, Err(BackupError::OtherLife { .. })), "{refused:?}");
    let refused = backup(Path::new("here"), &lab.source(&data, true), || lab.store.snapshot(), &mut quiet);
    assert!(matches!(refused, Err(BackupError::Relative { .. })), "{refused:?}");
}
