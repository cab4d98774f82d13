//! The keys of one site, one after the other. A site is named by its first key for ever; each later key was named by the one before it.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::id::SiteId;
use crate::limits::HANDOVERS_MAX;
use crate::signature::Signature;

#[cfg(test)]
mod tests;

const HANDOVER_CONTEXT: &[u8] = b"packetboat 2026-11 handover v1\0";

/// The bits of an epoch that number a key's epochs; those above number the key. [P-58]
const EPOCH_BITS: u32 = 48;

/// The number of the key that signs a log of this epoch: zero is the site's first.
#[must_use]
pub const fn generation_of(epoch: u64) -> u64 {
    epoch >> EPOCH_BITS
}

/// The first epoch of a key.
#[must_use]
pub const fn first_epoch(generation: u64) -> u64 {
    (generation << EPOCH_BITS).saturating_add(1)
}

/// A key names the one that follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    pub key: SiteId,
    /// The key before signs the site, this key's number and this key.
    pub signature: Signature,
}

/// The keys that followed a site's first, in order. Whatever holds one is proof of nothing until it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Succession(Vec<Handover>);

/// Why keys do not follow each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowed {
    #[error("{found} keys follow the first, and at most {HANDOVERS_MAX} are allowed")]
    TooLong { found: usize },
    #[error("{key} is no valid Ed25519 key")]
    WeakKey { key: SiteId },
    #[error("key {generation} of {site} was not named by the key before it")]
    BadSignature { site: SiteId, generation: usize },
}

fn signed_bytes(site: SiteId, generation: u64, key: SiteId) -> Vec<u8> {
    [HANDOVER_CONTEXT, site.as_bytes(), &generation.to_le_bytes(), key.as_bytes()].concat()
}

impl Succession {
    /// A site that still has its first key.
    pub const NONE: Self = Self(Vec::new());

    /// The number of the newest key.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.len() as u64
    }

    /// The newest key of `site`.
    #[must_use]
    pub fn key(&self, site: SiteId) -> SiteId {
        self.0.last().map_or(site, |handover| handover.key)
    }

    /// Every key of `site`, the first first.
    #[must_use]
    pub fn keys(&self, site: SiteId) -> Vec<SiteId> {
        std::iter::once(site).chain(self.0.iter().map(|handover| handover.key)).collect()
    }

    /// The same followed by `key`, in the name of `site`, signed by the newest key so far.
    #[must_use]
    pub fn followed_by(&self, site: SiteId, newest: &SigningKey, key: SiteId) -> Self {
        debug_assert_eq!(
            self.key(site).0,
            newest.verifying_key().to_bytes(),
            "the newest key names the next"
        );
        let said = signed_bytes(site, self.generation().saturating_add(1), key);
        let mut longer = self.clone();
        longer.0.push(Handover { key, signature: Signature(newest.sign(&said).to_bytes()) });
        longer
    }

    /// Whether `other` has the same keys and perhaps later ones.
    #[must_use]
    pub fn is_start_of(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len() && self.0.iter().zip(&other.0).all(|(one, two)| one.key == two.key)
    }

    /// The longer of two, where one goes on from the other.
    #[must_use]
    pub fn longer<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        if self.is_start_of(other) {
            return Some(other);
        }
        other.is_start_of(self).then_some(self)
    }

    /// The newest key of `site`, if each was named by the one before it. Weak keys and malleable signatures are refused. [P-58]
    ///
    /// # Errors
    /// See [`Unfollowed`].
    pub fn check(&self, site: SiteId) -> Result<SiteId, Unfollowed> {
        if self.0.len() > HANDOVERS_MAX {
            return Err(Unfollowed::TooLong { found: self.0.len() });
        }
        let mut newest = site;
        for (handover, generation) in self.0.iter().zip(1_usize..) {
            let named_by =
                VerifyingKey::from_bytes(&newest.0).map_err(|_key| Unfollowed::WeakKey { key: newest })?;
            let said = signed_bytes(site, generation as u64, handover.key);
            let signature = ed25519_dalek::Signature::from_bytes(&handover.signature.0);
            named_by
                .verify_strict(&said, &signature)
                .map_err(|_signature| Unfollowed::BadSignature { site, generation })?;
            newest = handover.key;
        }
        Ok(newest)
    }
}
