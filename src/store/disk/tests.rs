//! What a folder on a real file system must do.

use super::{Disk, Folder};

#[test]
fn a_pack_holds_what_was_written_and_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::new(folder.path()).unwrap();
    let pack = disk.create_pack(7).unwrap();
    pack.write_at(0, b"hello").unwrap();
    pack.sync().unwrap();
    pack.truncate(4).unwrap();
    let again = disk.open_pack(7).unwrap();
    let mut read = [0; 3];
    again.read_at(1, &mut read).unwrap();
    assert_eq!(&read, b"ell");
    assert!(again.read_at(2, &mut read).is_err(), "the file ends at four bytes");
    assert_eq!(again.bytes().unwrap(), 4);
    assert_eq!(disk.packs().unwrap(), [7]);
    disk.remove_pack(7).unwrap();
    disk.remove_pack(7).unwrap();
    assert!(disk.packs().unwrap().is_empty());
}

#[test]
fn a_folder_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::new(folder.path()).unwrap();
    let held = disk.lock().unwrap();
    let refused = Folder::new(folder.path()).unwrap().lock().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    drop(held);
    disk.lock().unwrap();
}

#[test]
fn a_small_file_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::new(folder.path()).unwrap();
    assert_eq!(disk.read_small("FORMAT").unwrap(), None);
    disk.write_small("FORMAT", b"a longer text").unwrap();
    disk.write_small("FORMAT", b"short").unwrap();
    assert_eq!(disk.read_small("FORMAT").unwrap().unwrap(), b"short");
    assert!(disk.free_bytes().unwrap() > 0);
}

/// Room is kept where the system can take it without writing it; elsewhere that is told.
#[test]
fn room_is_kept_once_and_given_up_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::new(folder.path()).unwrap();
    assert!(!disk.give_room().unwrap());
    let kept = disk.keep_room(1 << 20);
    if cfg!(target_os = "linux") {
        kept.unwrap();
        for bytes in [1 << 20, 2 << 20, 1 << 19] {
            disk.keep_room(bytes).unwrap();
            assert_eq!(std::fs::metadata(folder.path().join("ROOM")).unwrap().len(), bytes);
        }
        assert!(disk.give_room().unwrap());
    } else {
        assert_eq!(kept.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    }
    assert!(!disk.give_room().unwrap());
}
