//! The room that a site gives a feed, by the node's rules: sweeps, a trash whose bytes stay for a while, and a quota.

use std::collections::BTreeMap;

use packetboat::store::{BlobState, Store};
use protocol::feed::{Item, Standing};
use protocol::id::{BlobId, FeedId, OpId};
use protocol::manifest::File;
use protocol::op::Body;

use super::Site;
use super::people::coordinate;
use crate::plant::Plant;

/// Packs of which at most so much is live are written anew.
const LIVE_PERCENT_MAX: u64 = 70;

/// How a site keeps bytes that it need not keep.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// How long what nothing needs any more stays in the trash, where it stays at all.
    grace_ms: Option<u64>,
    /// Publishes that its quota refused.
    refused: usize,
    /// Times at which its program started.
    pub(super) starts: u64,
}

/// What a site holds of a blob that ops of its feed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub size: u64,
    /// All of it, not a part.
    pub whole: bool,
    /// A publish that names it is served.
    pub served: bool,
    /// Each publish that names it was deleted.
    pub gone: bool,
    /// Publishes that name it.
    pub named: usize,
}

/// Whether nothing of what was published at a name is left, and no op waits that may bring it back.
const fn is_gone(item: &Item) -> bool {
    let Item {
        standing: Standing::Deleted,
        winner: None,
        twins,
        clash,
        shadowed,
        suppressed,
        reused,
        due: None,
        ..
    } = item
    else {
        return false;
    };
    twins.is_empty() && clash.is_empty() && shadowed.is_empty() && suppressed.is_empty() && reused.is_empty()
}

impl Site {
    /// From here on what is deleted stays in the trash for so long.
    pub const fn keep_trash(&mut self, grace_ms: u64) {
        self.keeping.grace_ms = Some(grace_ms);
    }

    /// How long what is deleted stays in the trash, where it stays at all.
    #[must_use]
    pub const fn grace_ms(&self) -> Option<u64> {
        self.keeping.grace_ms
    }

    /// Sets the most that a feed may take here, unless the disk refuses.
    pub fn set_quota(&mut self, feed: FeedId, bytes: Option<u64>) {
        drop(self.store().set_quota(feed, bytes));
    }

    /// The most that a feed may take here.
    #[must_use]
    pub fn quota(&self, feed: FeedId) -> Option<u64> {
        self.reads(|store| store.quota(feed)).flatten()
    }

    /// Publishes that the quota refused.
    #[must_use]
    pub const fn refused_for_room(&self) -> usize {
        self.keeping.refused
    }

    /// Where one number is another one, bytes that were not durable may be gone.
    #[must_use]
    pub fn life_of_bytes(&self) -> (u64, u64) {
        (self.keeping.starts, self.store().era())
    }

    /// Drops the bytes that nothing standing needs, and gives their room back. A disk that refuses is left as it is; tells whether it did not.
    pub fn sweep(&mut self, now: u64) -> bool {
        self.swept = true;
        self.promised.clear();
        if self.has(Plant::SweepTakesLiveBytes) {
            self.drop_what_is_served(now);
        }
        let look = self.look(now);
        let swept = match self.keeping.grace_ms {
            Some(_) if self.has(Plant::TrashGoesAtOnce) => self.store().sweep_after(look, 0, false).is_ok(),
            Some(_) if self.has(Plant::TrashNeverGoes) => {
                self.store().sweep_after(look, u64::MAX, false).is_ok()
            }
            Some(grace_ms) => self.store().sweep_after(look, grace_ms, false).is_ok(),
            None => self.store().sweep(look, false, |_, _| false).is_ok(),
        };
        if swept {
            drop(self.store().reclaim(LIVE_PERCENT_MAX));
        }
        swept
    }

    /// Drops everything in the trash. A disk that refuses is left as it is; tells whether it did not.
    pub fn empty_trash(&mut self, now: u64) -> bool {
        self.swept = true;
        self.promised.clear();
        let emptied = self.store().empty_trash(self.look(now)).is_ok();
        if emptied {
            drop(self.store().reclaim(LIVE_PERCENT_MAX));
        }
        emptied
    }

    /// What a sweep does that takes the first package that is served for one that nobody needs.
    fn drop_what_is_served(&self, now: u64) {
        for (feed, _) in self.reads(Store::feeds).unwrap_or_default() {
            let items = self.items(now, feed).into_iter();
            for (name, _) in items.filter(|(_, item)| item.winner.is_some()).take(1) {
                let at = coordinate(&name);
                let evicting = self.reads(|store| store.begin_eviction(feed, &at, self.look(now))).flatten();
                let Some(evicting) = evicting else { continue };
                let Ok(blobs) = evicting.last_here() else { continue };
                // A disk that refuses drops nothing.
                drop(evicting.confirm(&blobs));
            }
        }
    }

    /// Whether the quota lets a publish of these files be said.
    pub(super) fn lets_in(&mut self, feed: FeedId, files: &[File]) -> bool {
        let named = || files.iter().map(|file| (file.blob, file.size));
        let over = self.reads(|store| store.over_quota(feed, named())).flatten();
        let refused = over.is_some() && !self.has(Plant::QuotaIgnored);
        self.keeping.refused += usize::from(refused);
        !refused
    }

    /// The blobs of a publish of which not all is here, with their sizes.
    #[must_use]
    pub fn lacks(&self, publish: OpId) -> Vec<(BlobId, u64)> {
        let op = self.reads(|store| store.op(publish)).flatten();
        let Some(Body::Publish(publish)) = op.map(|named| named.op.body) else { return Vec::new() };
        let lacks = |file: &File| {
            let state = self.reads(|store| store.blob_state(file.blob));
            let lacks = !matches!(state, Some(BlobState::Complete { .. }));
            lacks.then_some((file.blob, file.size))
        };
        publish.manifest.files.iter().filter_map(lacks).collect()
    }

    /// What is held here of the blobs that ops of a feed name, by what each op says and not by what the store counts.
    #[must_use]
    pub fn held(&self, now: u64, feed: FeedId) -> BTreeMap<BlobId, Held> {
        let mut held = BTreeMap::new();
        for (name, item) in self.items(now, feed) {
            for (op, publish) in self.publishes(feed, &name) {
                for file in &publish.manifest.files {
                    let Some(state) = self.reads(|store| store.blob_state(file.blob)) else { continue };
                    if state != BlobState::Missing {
                        let whole = matches!(state, BlobState::Complete { .. });
                        let of = (op, &item, whole);
                        note(&mut held, file, of);
                    }
                }
            }
        }
        held
    }
}

fn note(held: &mut BTreeMap<BlobId, Held>, file: &File, (op, item, whole): (OpId, &Item, bool)) {
    let none = Held { size: file.size, whole, served: false, gone: true, named: 0 };
    let one = held.entry(file.blob).or_insert(none);
    one.served |= item.winner == Some(op);
    one.gone &= is_gone(item);
    one.named += 1;
}
