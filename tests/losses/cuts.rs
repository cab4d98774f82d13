//! Losses of power under load: the node's folder lies in a file system in an image; the image is copied as it stands, without what the
//! kernel had not written yet, and the node goes on from the copy.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::Site;
use crate::load::Acknowledged;
use crate::rounds;

/// Bytes of the image. Sparse: only what is used lies on the disk.
const IMAGE_BYTES: u64 = 2 << 30;

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A file system in an image, mounted; gone when dropped.
struct Mounted {
    image: PathBuf,
    at: PathBuf,
}

impl Mounted {
    fn mount(image: PathBuf, at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        run("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()]);
        Self { image, at }
    }

    /// The image as the device has it at this moment, mounted elsewhere: the file system replays its journal.
    fn after_a_cut(&self, folder: &Path, round: usize) -> Self {
        let image = folder.join(format!("image-{round}"));
        run("cp", &["--sparse=always", self.image.to_str().unwrap(), image.to_str().unwrap()]);
        Self::mount(image, folder.join(format!("mounted-{round}")))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.at.to_str().unwrap()]);
        std::fs::remove_file(&self.image).unwrap();
    }
}

/// A small file system in memory, mounted; gone when dropped.
pub(crate) struct Filled {
    pub(crate) at: PathBuf,
}

impl Filled {
    pub(crate) fn mount(at: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", at.to_str().unwrap()]);
        Self { at: at.to_owned() }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        run("umount", &[self.at.to_str().unwrap()]);
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_losses_of_power() {
    if std::env::var_os("PACKETBOAT_NO_ROOT").is_some() {
        println!("NO POWER WAS CUT: PACKETBOAT_NO_ROOT is set");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
    let mut mounted = Mounted::mount(image, folder.path().join("mounted"));
    let mut site = Site::within("New York", mounted.at.join("data"));
    site.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let token = site.ok(&["token", "create", "--admin"])["token"].as_str().unwrap().to_owned();
    let mut acknowledged = Acknowledged::default();
    for round in 0..rounds() {
        acknowledged.load_until_lost(&mut site, &token, 1 + round * 11 % 40, Site::kill);
        let after = mounted.after_a_cut(folder.path(), round);
        site.data = after.at.join("data");
        drop(std::mem::replace(&mut mounted, after));
        site.start();
        acknowledged.check(&site, &token, "cut", round);
    }
    acknowledged.check_all(&site, &token);
    let verified = site.ok(&["verify"]);
    assert_eq!((&verified["damaged"], &verified["blobs_damaged"]), (&serde_json::json!([]), &0.into()));
    site.kill();
    println!(
        "{} losses of power: {} publishes and {} deletes acknowledged, 0 lost",
        rounds(),
        acknowledged.published,
        acknowledged.deleted
    );
}
