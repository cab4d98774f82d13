//! A disk that is really full: a small file system in memory, filled to the reserve by publishing, and emptied again.

use std::io::Write;

use crate::cuts::Filled;
use crate::lab::Site;

/// Bytes of the file system.
const DISK_BYTES: u64 = 96 << 20;

/// Writes until there is no space left.
fn fill(path: &std::path::Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for bytes in [1 << 20, 4096] {
        while file.write_all(&vec![1; bytes]).and_then(|()| file.sync_data()).is_ok() {}
    }
}

#[test]
fn a_full_disk_refuses_deletes_and_takes_again() {
    if std::env::var_os("PACKETBOAT_NO_ROOT").is_some() {
        println!("NO DISK WAS FILLED: PACKETBOAT_NO_ROOT is set");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mounted = Filled::mount(&folder.path().join("small"), DISK_BYTES);
    let data = mounted.at.join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("packetboat.toml"), "reserve = \"24MB\"\n").unwrap();
    let mut site = Site::within("New York", data);
    site.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let file = folder.path().join("file.bin");
    let mut kept = 0_u8;
    let refused = loop {
        std::fs::write(&file, vec![kept; 4 << 20]).unwrap();
        let published =
            site.offline(&["publish", "tools", "tool", &format!("{kept}.0"), file.to_str().unwrap()]);
        if published.code != 0 {
            break published;
        }
        kept += 1;
    };
    assert!(kept > 5, "{refused:?}");
    assert!(refused.stderr.contains("disk is full") && refused.stderr.contains("24000000"), "{refused:?}");
    assert_eq!(site.ok(&["status"])["space"]["full"], serde_json::json!(true));
    // A node that is started on a full disk serves and deletes all the same, though others have taken every byte that it did not hold.
    site.kill();
    let others = mounted.at.join("others");
    fill(&others);
    // A site that cannot be made now can be once there is room.
    let second = mounted.at.join("second");
    let init = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_packetboat"));
        command.arg("--data").arg(&second).args(["init", "--name", "Second"]).output().unwrap()
    };
    assert!(!init().status.success());
    site.start();
    let back = folder.path().join("back");
    site.ok(&["get", "tools", "tool", "0.0", "--output", back.to_str().unwrap()]);
    assert_eq!(std::fs::read(back.join("file.bin")).unwrap(), vec![0; 4 << 20]);
    for n in 0..kept / 2 {
        site.ok(&["delete", "tools", "tool", &format!("{n}.0")]);
    }
    let emptied = site.ok(&["trash", "empty"]);
    assert!(emptied["bytes_freed"].as_u64().unwrap() > 4 << 20, "{emptied}");
    std::fs::remove_file(others).unwrap();
    let made = init();
    assert!(made.status.success(), "{made:?}");
    site.ok(&["publish", "tools", "tool", "again", file.to_str().unwrap()]);
    assert_eq!(site.ok(&["verify"])["damaged"], serde_json::json!([]));
    println!("a full disk: {kept} versions taken, the next refused, half deleted, and it went on");
}
