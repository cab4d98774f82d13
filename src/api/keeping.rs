//! Shapes of how this site keeps its bytes: checking them, damage, and having them back.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Verification => "verification" }

/// What a check of all bytes found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verification {
    /// Records that are whole.
    pub records: u64,
    pub bytes: u64,
    /// Bytes that are not what was written, as they lay when the check passed them.
    pub damaged: Vec<String>,
    /// Blobs that counted as whole and are not.
    pub blobs_damaged: u64,
    /// Logs that were set back to before a damaged batch.
    #[serde(default)]
    pub logs_damaged: u64,
    /// What is left to mend at the end.
    #[serde(default)]
    pub open: Damage,
    /// Where it was asked to heal.
    #[serde(default)]
    pub healed: Option<Healed>,
    /// Where it was asked to look at what is derived, too.
    #[serde(default)]
    pub deep: Option<Deep>,
}

impl Verification {
    /// Whether everything is as it was written, by the end.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let as_found = self.damaged.is_empty() && self.blobs_damaged == 0 && self.logs_damaged == 0;
        let derived = self.deep.as_ref().is_none_or(|deep| deep.wrong == 0);
        self.open.is_nothing() && derived && (as_found || self.healed.is_some())
    }
}

/// What damage took and what has not come back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Damage {
    /// Damaged places that still lie in the packs.
    pub places: u64,
    /// Blobs that something here needs.
    pub blobs: u64,
    /// Logs that are shorter than they were.
    pub logs: u64,
    /// Versions whose bytes are lacking, as `FEED/NAME@VERSION`; at most 100.
    pub versions: Vec<String>,
}

impl Damage {
    /// Whether nothing is to be mended.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.places == 0 && self.blobs == 0 && self.logs == 0
    }
}

/// What was worked out again from what it derives from. What was wrong is mended already.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deep {
    /// Logs of which every signature, op and root was checked.
    pub logs: u64,
    pub ops: u64,
    /// Entries of the index that were compared with the packs.
    pub index_entries: u64,
    /// Versions that were worked out from their ops.
    pub versions: u64,
    /// Feeds whose counts and roots were.
    pub feeds: u64,
    /// Things that were another than they should be.
    pub wrong: u64,
    /// The first of them.
    pub named: Vec<String>,
    /// Why the index was not compared.
    pub index_left_out: Option<String>,
}

/// What healing came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Healed {
    /// Blobs that are whole again.
    pub blobs: u64,
    /// Packs that were written anew without the damaged bytes.
    pub packs: u64,
    /// Links that were run for it.
    pub links: Vec<String>,
    /// Links that could not be, and why.
    pub links_failed: Vec<String>,
}

/// How far the background scrub is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scrub {
    /// When all bytes had last been read again.
    pub ended_ms: Option<u64>,
    /// When the pass that is going on began.
    pub began_ms: Option<u64>,
    /// Bytes that it has read.
    pub bytes: u64,
}
