//! Shapes of backups.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Backup => "backup-made", Checked => "backup-checked", Restored => "restored" }

/// Asks for a backup into a folder of the machine that the node runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Request alone would read as any request")]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// From the root on.
    pub folder: String,
    /// Whether the site's key goes along.
    #[serde(default)]
    pub with_key: bool,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub folder: String,
    pub files: u64,
    pub bytes: u64,
    /// What of it was not there from an earlier backup.
    pub copied_bytes: u64,
    pub with_key: bool,
    /// Packs that are damaged at the site or gone from it, of which the backup keeps what it had.
    #[serde(default)]
    pub damaged: Vec<String>,
}

/// A backup that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub folder: String,
    pub site: String,
    pub made_ms: u64,
    pub files: u64,
    pub bytes: u64,
    /// What is not as it was backed up.
    pub damaged: Vec<String>,
}

/// A data folder that was made from a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    pub data: String,
    pub site: String,
    pub name: String,
    pub made_ms: u64,
    pub bytes: u64,
}
