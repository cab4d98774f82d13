//! FORMAT and its spare: rotted, lacking, of before and of after.

use std::fs;

use super::super::disk::Folder;
use super::*;

const OLD: &str = "packetboat-store 1\ngeneration 000102030405060708090a0b0c0d0e0f\n\
                   salt 000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f\n";

fn place() -> (tempfile::TempDir, Folder, Life) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::new(folder.path()).unwrap();
    let life = Life::new(7 << 64);
    life.write(&disk).unwrap();
    (folder, disk, life)
}

fn read(disk: &Folder) -> Option<(Life, Copies)> {
    Life::read(disk).unwrap()
}

#[test]
fn each_flipped_bit_of_format_or_its_spare_costs_nothing() {
    let (folder, disk, life) = place();
    assert_eq!(read(&disk), Some((life.clone(), Copies::Whole)));
    for name in FORMAT_FILES {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).unwrap();
            assert_eq!(read(&disk), Some((life.clone(), Copies::Rotted)), "bit {bit} of {name}");
        }
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert_eq!(read(&disk), Some((life.clone(), Copies::Rotted)), "{name} was cut");
        fs::write(&path, good).unwrap();
    }
    fs::remove_file(folder.path().join(FORMAT)).unwrap();
    assert_eq!(read(&disk), Some((life, Copies::Rotted)), "FORMAT is gone");
}

#[test]
fn a_format_of_before_there_was_a_check_is_read_and_one_of_now_is_read_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::new(folder.path()).unwrap();
    disk.write_small(FORMAT, OLD.as_bytes()).unwrap();
    let (life, copies) = read(&disk).unwrap();
    assert_eq!(copies, Copies::Lacking, "it has no spare yet");
    life.write(&disk).unwrap();
    assert_eq!(read(&disk), Some((life.clone(), Copies::Whole)));
    assert!(life.encode().starts_with(OLD), "a program of before finds its lines");
    // One that does not know the spare wrote FORMAT anew.
    disk.write_small(FORMAT, OLD.replace("0f\nsalt", "1f\nsalt").as_bytes()).unwrap();
    let (later, copies) = read(&disk).unwrap();
    assert_ne!(later, life);
    assert_eq!(copies, Copies::Lacking);
}

/// Peers would take what is said in the later life for what was said in the earlier.
#[test]
fn a_spare_of_an_earlier_life_never_goes_before_a_whole_format_nor_before_what_was_opened() {
    let (folder, disk, life) = place();
    let later = Life { generation: 8 << 64, salt: life.salt };
    // Cut short between the two.
    disk.write_small(FORMAT, later.encode().as_bytes()).unwrap();
    assert_eq!(read(&disk), Some((later.clone(), Copies::Lacking)));
    // It was opened in the later life, whose FORMAT rots then.
    Checkpoint { generation: later.generation, ..Checkpoint::default() }.write(&disk).unwrap();
    fs::write(folder.path().join(FORMAT), b"packetboat").unwrap();
    assert!(matches!(Life::read(&disk), Err(FormatError::Damaged)));
    Checkpoint { generation: life.generation, ..Checkpoint::default() }.write(&disk).unwrap();
    assert_eq!(read(&disk), Some((life, Copies::Rotted)));
}

#[test]
fn a_newer_format_is_told_by_its_version_whatever_the_spare_says() {
    let (_folder, disk, life) = place();
    for newer in
        ["packetboat-store 9\n", &life.encode().replace("store 1", "store 2").replace("check ", "seal ")]
    {
        disk.write_small(FORMAT, newer.as_bytes()).unwrap();
        assert!(matches!(Life::read(&disk), Err(FormatError::Version(2 | 9))), "{newer}");
    }
}
