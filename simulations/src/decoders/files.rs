//! The files of a site beside its packs: its key, what a store says of itself, a backup's list, the index; and the key in a peer's handshake.

use std::path::Path;
use std::sync::Arc;

use packetboat::backup::Manifest;
use packetboat::identity::SiteKey;
use packetboat::store::disk::Disk;
use packetboat::store::engine::{self, Change, Engine};
use packetboat::store::{Options, Store, Tree};
use packetboat::transport::tls::site_of_spki;

use super::{examples, goes_on};

/// What the first byte of an input says that the rest is.
pub(super) const KEY: u8 = 0;
pub(super) const MANIFEST: u8 = 1;
pub(super) const HANDSHAKE_KEY: u8 = 2;
pub(super) const INDEX: u8 = 3;
/// One of the files that a store says of itself.
pub(super) const SMALL: u8 = 4;

/// Those files.
pub(super) const SMALL_FILES: [&str; 3] = ["FORMAT", "FORMAT.spare", "CHECKPOINT"];

const TREES: [Tree; 16] = [
    Tree::About,
    Tree::Blob,
    Tree::Extent,
    Tree::Record,
    Tree::Log,
    Tree::Batch,
    Tree::Op,
    Tree::Arrival,
    Tree::Fact,
    Tree::Ref,
    Tree::Said,
    Tree::Use,
    Tree::Want,
    Tree::Gap,
    Tree::View,
    Tree::Spare,
];

/// A file of which the first byte says which it is. A store that opens on it serves nothing wrong, and goes on.
pub(super) fn files(bytes: &[u8]) -> bool {
    let (which, rest) = bytes.split_first().unwrap_or((&KEY, &[]));
    match which % (SMALL + 1) {
        KEY => SiteKey::decode(rest).is_some(),
        MANIFEST => {
            let read = Manifest::of_text(&String::from_utf8_lossy(rest), Path::new("MANIFEST"));
            read.is_ok_and(|manifest| {
                let again = manifest.to_text().expect("it was read from text");
                assert_eq!(Manifest::of_text(&again, Path::new("MANIFEST")).ok(), Some(manifest));
                true
            })
        }
        HANDSHAKE_KEY => site_of_spki(rest).is_some(),
        INDEX => index(rest),
        _ => small(rest),
    }
}

/// The index of a store in which one value was changed: the first byte says in which tree, the second the how manieth of it.
fn index(bytes: &[u8]) -> bool {
    let [tree, nth, value @ ..] = bytes else { return false };
    let (disk, blobs) = examples::packed();
    let whole = engine::InMemory::default();
    let on = Arc::new(disk.clone()) as Arc<dyn Disk>;
    let store = Store::open_on(on, Box::new(whole.clone()), Options::new(examples::GENERATION));
    drop(store.expect("the packs are whole"));
    let index = whole.open().expect("an index in memory");
    let tree = TREES.get(usize::from(*tree) % TREES.len()).copied().unwrap_or(Tree::About);
    let entries = index.page(tree, &[], &[], usize::from(*nth).saturating_add(1)).expect("it reads");
    let Some((key, _)) = entries.last() else { return false };
    let change = Change { tree, key: key.clone(), value: Some(value.to_vec()) };
    if index.apply(&[change]).is_err() {
        return false;
    }
    goes_on(&disk, &whole, &blobs)
}

/// One of the small files with other bytes: the first byte says which, or 255 that FORMAT and its spare are both these.
fn small(bytes: &[u8]) -> bool {
    let Some((which, content)) = bytes.split_first() else { return false };
    let (disk, blobs) = examples::packed();
    let write = |name: &str| disk.write_small(name, content).expect("room in memory");
    if *which == u8::MAX {
        SMALL_FILES.iter().take(2).for_each(|name| write(name));
    } else {
        write(SMALL_FILES.get(usize::from(*which) % SMALL_FILES.len()).unwrap_or(&"FORMAT"));
    }
    goes_on(&disk, &engine::InMemory::default(), &blobs)
}
