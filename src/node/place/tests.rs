//! Folders that lie where they were made, that do not, and of which nobody can tell.

use super::*;
use crate::store::{Options, Store};

fn made(folder: &Path) -> Store {
    Store::open(folder, Options::new(1)).unwrap()
}

/// Nobody can tell a rotted PLACE from that of another folder, and a copy that signs at once would fork its logs.
#[test]
fn a_store_whose_place_rotted_counts_as_copied_and_starts() {
    let folder = tempfile::tempdir().unwrap();
    let id = made(folder.path()).id();
    settle(folder.path()).unwrap();
    assert_eq!(look(folder.path(), 2 << 80).unwrap(), None, "it lies where it was made");
    let place = folder.path().join(PLACE);
    let good = fs::read(&place).unwrap();
    for (n, bit) in [(0_u8, 0x80), (1, 1), (2, 0x40)] {
        let mut bad = good.clone();
        bad[usize::from(n)] ^= bit;
        fs::write(&place, &bad).unwrap();
        assert_eq!(look(folder.path(), u128::from(n + 3) << 80).unwrap(), Some(Cause::Copied));
        assert_ne!(made(folder.path()).id(), id, "as a copy it has a life of its own");
        settle(folder.path()).unwrap();
        assert_eq!(fs::read(&place).unwrap(), good);
        assert_eq!(look(folder.path(), 9 << 80).unwrap(), None);
    }
}

/// A copy whose life is that of what it was copied from would be taken for it by other sites.
#[test]
fn a_copy_gets_a_life_of_its_own_in_format_and_in_its_spare_whichever_of_them_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let id = made(folder.path()).id();
    let good = fs::read(folder.path().join(FORMAT_FILES[0])).unwrap();
    for (n, rotted) in [None, Some(FORMAT_FILES[0]), Some(FORMAT_FILES[1])].into_iter().enumerate() {
        let copy = tempfile::tempdir().unwrap();
        for name in FORMAT_FILES {
            fs::write(copy.path().join(name), &good).unwrap();
        }
        if let Some(name) = rotted {
            fs::write(copy.path().join(name), b"rotted").unwrap();
        }
        fs::write(copy.path().join(PLACE), b"made 7").unwrap();
        let generation = u128::try_from(n + 2).unwrap() << 80;
        assert_eq!(look(copy.path(), generation).unwrap(), Some(Cause::Copied));
        let both = FORMAT_FILES.map(|name| fs::read(copy.path().join(name)).unwrap());
        assert_eq!(both[0], both[1]);
        assert_ne!(both[0], good);
        assert_ne!(made(copy.path()).id(), id);
    }
}

#[test]
fn no_site_is_begun_in_the_folder_of_an_unfinished_restore() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    fs::create_dir_all(data.join("store.restoring/packs")).unwrap();
    let refused = is_no_unfinished_restore(data).unwrap_err().to_string();
    assert!(refused.contains("restore BACKUP") && refused.contains("store.restoring"), "{refused}");
    assert!(super::super::init(data, None).is_err());
    assert!(!data.join("key").exists() && !data.join("store").exists(), "nothing was made");
    fs::remove_dir_all(data.join("store.restoring")).unwrap();
    super::super::init(data, None).unwrap();
    // One that was begun beside it by an older release goes on.
    fs::create_dir_all(data.join("store.restoring/packs")).unwrap();
    is_no_unfinished_restore(data).unwrap();
}
