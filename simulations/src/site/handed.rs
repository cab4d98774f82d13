//! A look at what a site hands to its peers, as they will look at it: by the hashes that name it.

use std::cell::RefCell;
use std::rc::Rc;

use packetboat::store::Store;
use protocol::id::BlobId;
use protocol::log::{Batch, Entry};
use protocol::op::{Op, Place};
use protocol::outline::{Outline, extent_cv};

/// The first thing that was handed out and is not what it is called.
#[derive(Debug, Clone, Default)]
pub(super) struct Handed(Rc<RefCell<Option<String>>>);

impl Handed {
    pub(super) fn wrong(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    fn note(&self, what: String) {
        self.0.borrow_mut().get_or_insert(what);
    }

    pub(super) fn small(&self, blob: BlobId, bytes: Option<&Vec<u8>>) {
        if bytes.is_some_and(|bytes| *blake3::hash(bytes).as_bytes() != blob.0) {
            self.note(format!("other bytes as blob {blob}"));
        }
    }

    pub(super) fn outline(&self, blob: BlobId, outline: Option<&Outline>) {
        if outline.is_some_and(|outline| outline.blob != blob || outline.verify().is_err()) {
            self.note(format!("a wrong outline of blob {blob}"));
        }
    }

    pub(super) fn extent(&self, outline: Option<&Outline>, index: u32, bytes: Option<&Vec<u8>>) {
        let (Some(outline), Some(bytes)) = (outline, bytes) else { return };
        let place = usize::try_from(index).ok().and_then(|index| outline.extents.get(index));
        if place != extent_cv(index, bytes).as_ref() {
            self.note(format!("other bytes as part {index} of blob {}", outline.blob));
        }
    }

    /// An op that rotted has another name, and of that nobody ever heard.
    pub(super) fn run(&self, store: &Store, batch: Option<&Batch>) {
        let Some(batch) = batch else { return };
        let mut seq = batch.first;
        for entry in &batch.entries {
            if let Entry::Op(statement) = entry {
                let id = Op::id_of(Place { log: batch.head.head.log, seq }, statement);
                if matches!(store.op(id), Ok(None)) {
                    self.note(format!("an op that nobody said, as number {seq} of a log"));
                }
            }
            seq = seq.saturating_add(entry.span());
        }
    }
}
