//! The keys of the other sites of this site's links, as they were told.

use protocol::id::SiteId;
use protocol::succession::Succession;
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

/// The keys of another site, and what it knows of this one's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeysOf {
    pub succession: Succession,
    /// The number of the oldest key by which it is still taken for itself: the newest that it showed.
    pub oldest: u64,
    /// The number of this site's newest key that it was told of.
    pub told: u64,
}

impl KeysOf {
    /// The keys by which `site` is taken for itself.
    #[must_use]
    pub fn taken(&self, site: SiteId) -> Vec<SiteId> {
        let keys = self.succession.keys(site);
        let older = usize::try_from(self.oldest).unwrap_or(usize::MAX).min(keys.len().saturating_sub(1));
        keys.into_iter().skip(older).collect()
    }

    /// The number of one of its keys.
    #[must_use]
    pub fn number(&self, site: SiteId, key: SiteId) -> Option<u64> {
        let at = self.succession.keys(site).iter().position(|known| *known == key)?;
        u64::try_from(at).ok()
    }
}

impl Store {
    /// The keys of another site: its first alone where nothing was told.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn keys_of(&self, site: SiteId) -> Result<KeysOf, ReadError> {
        let value = self.record(Shelf::KeysOf, site.as_bytes())?;
        value.map_or_else(|| Ok(KeysOf::default()), |value| self.understood(&value))
    }

    /// The later keys of all sites that told theirs.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn known_keys(&self) -> Result<Vec<(SiteId, Succession)>, ReadError> {
        let mut known = Vec::new();
        for (site, value) in self.records(Shelf::KeysOf, &[], &[], usize::MAX)? {
            let keys: KeysOf = self.understood(&value)?;
            if let Ok(site) = <[u8; 32]>::try_from(site.as_slice())
                && keys.succession.generation() > 0
            {
                known.push((SiteId(site), keys.succession));
            }
        }
        Ok(known)
    }

    /// Keeps the keys of another site. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_keys_of(&self, site: SiteId, keys: &KeysOf) -> Result<(), WriteError> {
        self.put_record(Shelf::KeysOf, site.as_bytes(), &keys::encode(keys))
    }
}
