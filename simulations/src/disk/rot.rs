//! Bits that rot on a disk in memory, where a store can tell that from a write that was cut short.

use std::sync::{Arc, RwLock};

use super::{InMemory, Pack, read, write};
use crate::entropy::Entropy;

/// How a record begins in a pack, and the kinds of those that hold ops and what a site noted.
const RECORD: [u8; 4] = *b"PBr1";
const KINDS: [u8; 2] = [4, 5];
/// Bytes of a record before its payload, and where they say how long that is.
const HEADER_BYTES: usize = 64;
const LENGTH_AT: usize = 12;
/// Records lie at multiples of this.
const ALIGNMENT: usize = 8;
/// Where the file that tells how far the index is whole names a pack and an offset in it.
const CHECKPOINT: &str = "CHECKPOINT";
const PACK_AT: usize = 24;
const OFFSET_AT: usize = 28;

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(width)?)?;
    Some(part.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// The records of some kind in a pack: where each begins, and its bytes.
fn records(bytes: &[u8], kind: u8) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for at in (0..bytes.len()).step_by(ALIGNMENT) {
        let header = bytes.get(at..).unwrap_or_default();
        if header.starts_with(&RECORD) && header.get(RECORD.len()) == Some(&kind) {
            let length = header.get(LENGTH_AT..LENGTH_AT + 8).and_then(<[u8]>::first_chunk::<8>);
            let length = length.map_or(0, |length| u64::from_le_bytes(*length));
            found.push((at, HEADER_BYTES + usize::try_from(length).unwrap_or(0)));
        }
    }
    found
}

impl InMemory {
    /// A pack goes, or the end of one. Tells which, and how many bytes of it are left. Whoever has it open keeps what was there.
    pub fn lose_pack(&self, entropy: &mut Entropy) -> Option<(u32, usize)> {
        let mut state = write(&self.state);
        let (number, pack) = state.packs.iter().nth(entropy.index(state.packs.len()))?;
        let (number, mut left) = (*number, read(&pack.synced).clone());
        left.truncate(usize::try_from(entropy.below(left.len() as u64)).unwrap_or(0));
        let bytes = left.len();
        if entropy.chance(500_000) {
            state.packs.remove(&number);
            return Some((number, 0));
        }
        let pack = Pack { bytes: RwLock::new(left.clone()), synced: RwLock::new(left) };
        state.packs.insert(number, Arc::new(pack));
        Some((number, bytes))
    }

    /// Flips one bit of what was synced: half of the time any, else one of ops or of what a site noted. Tells where. Behind the checkpoint
    /// in the pack that grows nothing rots: a start takes what is wrong at its end for a write that was cut short.
    pub fn rot(&self, entropy: &mut Entropy) -> Option<(u32, usize)> {
        let state = read(&self.state);
        let newest = *state.packs.last_key_value()?.0;
        let checkpoint = state.small.get(CHECKPOINT).map_or(&[][..], Vec::as_slice);
        let whole = number(checkpoint, PACK_AT, 4) == Some(u64::from(newest));
        let upto = number(checkpoint, OFFSET_AT, 8).filter(|_| whole).unwrap_or(0);
        let mut places: Vec<(u32, usize, usize)> = Vec::new();
        let kind = KINDS.get(entropy.index(2 * KINDS.len())).copied();
        for (number, pack) in &state.packs {
            let synced = read(&pack.synced);
            let end = if *number == newest { usize::try_from(upto).unwrap_or(0) } else { synced.len() };
            let bytes = synced.get(..end.min(synced.len())).unwrap_or_default();
            match kind {
                Some(kind) => {
                    places.extend(records(bytes, kind).into_iter().map(|(at, long)| (*number, at, long)));
                }
                None if bytes.is_empty() => {}
                None => places.push((*number, 0, bytes.len())),
            }
        }
        let (pack, from, long) = places.get(entropy.index(places.len())).copied()?;
        let (at, bit) = (from + entropy.index(long), 1_u8 << entropy.below(8));
        let held = state.packs.get(&pack)?;
        *write(&held.bytes).get_mut(at)? ^= bit;
        *write(&held.synced).get_mut(at)? ^= bit;
        Some((pack, at))
    }
}
