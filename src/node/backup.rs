//! Backups of a site, while its node runs and without one, and folders made from them.

use std::path::Path;

use tokio::sync::mpsc::Sender;

use super::runs::Step;
use super::{Node, key_path, store_path};
use crate::api::Problem;
use crate::api::backup as shapes;
use crate::backup::{BackupError, ManifestError, Source, backup};
use crate::identity::{LoadKeyError, SiteKey};
use crate::keeper::wall_clock;
use crate::store::{OpenError, Options, Store};

/// Why no backup was made of a folder that no node has open.
#[derive(Debug, thiserror::Error)]
pub enum OfflineBackupError {
    #[error(transparent)]
    Key(#[from] LoadKeyError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("no random bytes: {0}")]
    Randomness(getrandom::Error),
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let detail = super::problem::story(&error);
        match error {
            BackupError::Relative { .. } => Self::new(400, "usage", "The folder is not understood", detail),
            BackupError::Occupied { .. } | BackupError::OtherLife { .. } => {
                Self::new(409, "conflict", "The folder is taken", detail)
            }
            BackupError::UnderWay { .. } => Self::new(409, "conflict", "A backup is under way", detail)
                .hint("wait for it, or back up into another folder"),
            BackupError::Manifest(ManifestError::Damaged { .. }) => {
                Self::new(500, "integrity", "The backup that is there is damaged", detail)
                    .hint("keep it for a look, and back up into an empty folder")
            }
            BackupError::Manifest(_) | BackupError::Write { .. } | BackupError::Read { .. } => {
                Self::new(500, "disk", "The backup could not be written", detail)
            }
            BackupError::Store(error) => error.into(),
        }
    }
}

fn made(
    store: &Store,
    source: &Source<'_>,
    folder: &str,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<shapes::Backup, BackupError> {
    let backed = backup(Path::new(folder), source, || store.snapshot(), progress)?;
    Ok(shapes::Backup {
        folder: folder.to_owned(),
        files: backed.files,
        bytes: backed.bytes,
        copied_bytes: backed.copied_bytes,
        with_key: source.with_key,
        damaged: backed.damaged,
    })
}

/// Backs up a data folder that no node has open.
///
/// # Errors
/// A node has it open, or the disk fails.
pub fn backup_offline(
    data: &Path,
    asked: &shapes::BackupRequest,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<shapes::Backup, OfflineBackupError> {
    let key = SiteKey::load(&key_path(data))?;
    let site = key.site_id();
    let generation = super::random::<16>().map_err(OfflineBackupError::Randomness)?;
    let store = Store::open(&store_path(data), Options::new(u128::from_le_bytes(generation)))?;
    let source = Source {
        data,
        site: site.to_string(),
        key_number: key.succession().generation(),
        name: site.short(),
        now_ms: wall_clock().0,
        with_key: asked.with_key,
    };
    Ok(made(&store, &source, &asked.folder, progress)?)
}

impl Node {
    /// Backs this site up into a folder of this machine, while it serves.
    ///
    /// # Errors
    /// The folder holds something else, or a disk fails.
    pub async fn backup(
        &self,
        asked: shapes::BackupRequest,
        steps: Sender<Step>,
    ) -> Result<shapes::Backup, Problem> {
        let (data, name) = (self.inner.data.clone(), self.inner.name.clone());
        self.blocking(move |site| {
            let source = Source {
                data: &data,
                site: site.me().to_string(),
                key_number: site.key().succession().generation(),
                name,
                now_ms: wall_clock().0,
                with_key: asked.with_key,
            };
            let progress = &mut |done, of| {
                // A step nobody has room for is followed by another.
                drop(steps.try_send(("copying".to_owned(), done, Some(of))));
            };
            Ok(made(site.store(), &source, &asked.folder, progress)?)
        })
        .await
    }
}
