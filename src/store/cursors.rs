//! What this site remembers of each peer between sessions: how far that peer's store was followed.

use protocol::id::{LogId, SiteId};
use protocol::session::Memory;

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

fn key(peer: SiteId, link: &str) -> Vec<u8> {
    keys::joined(&[peer.as_bytes(), link.as_bytes()])
}

impl Store {
    /// Remembers how far a peer was followed over a link. Durable when this returns, and so is everything that was written before.
    /// The same as before writes nothing.
    ///
    /// # Errors
    /// When the disk is full or fails; the older memory then holds, which costs a repair and nothing else.
    pub fn remember(&self, peer: SiteId, link: &str, memory: &Memory) -> Result<(), WriteError> {
        let (key, value) = (key(peer, link), keys::encode(memory));
        if self.record(Shelf::Cursors, &key).is_ok_and(|now| now.as_ref() == Some(&value)) {
            return Ok(());
        }
        self.put_record(Shelf::Cursors, &key, &value)
    }

    /// What is remembered of a peer; nothing is an empty memory.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn memory(&self, peer: SiteId, link: &str) -> Result<Memory, ReadError> {
        let value = self.record(Shelf::Cursors, &key(peer, link))?;
        value.map_or_else(|| Ok(Memory::default()), |value| self.understood(&value))
    }

    /// How far a log was followed over any link by a run that had all its ops in.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn followed(&self, log: LogId) -> Result<u64, ReadError> {
        let mut followed = 0;
        for (_, value) in self.records(Shelf::Cursors, &[], &[], usize::MAX)? {
            let memory: Memory = self.understood(&value)?;
            let of = memory.heads.iter().filter(|(of, _)| *of == log).map(|(_, reach)| reach.len);
            followed = of.max().unwrap_or(0).max(followed);
        }
        Ok(followed)
    }

    /// Forgets a peer, so that the next run compares everything.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn forget(&self, peer: SiteId, link: &str) -> Result<(), WriteError> {
        self.remove_record(Shelf::Cursors, &key(peer, link))
    }
}
