//! Whether a store lies where it was made: a folder that was copied, moved to another disk or restored is noticed before anything is signed.

use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::identity::owner_only;
use crate::store::{Cause, FORMAT_FILES, RESTORED, begin_life};
use protocol::time::Timestamp;

/// A site that is begun beside an unfinished restore is another one, and stands in the way of the first.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is of a restore that was not finished: finish it with `packetboat --data {} restore BACKUP`, or remove {} to make a new site here",
    .place.display(), .data.display(), .place.display()
)]
pub struct UnfinishedRestore {
    data: PathBuf,
    place: PathBuf,
}

const PLACE: &str = "PLACE";

/// What tells a folder from its copies: when it was made, or its number where the file system does not say.
fn mark(folder: &Metadata) -> Option<String> {
    let made = folder.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    #[cfg(unix)]
    let number = Some(format!("number {}", std::os::unix::fs::MetadataExt::ino(folder)));
    #[cfg(not(unix))]
    let number = None;
    made.map(|made| format!("made {}", made.as_nanos())).or(number)
}

/// The text of a small file. One that rotted into bytes that are none differs from what was written all the more.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    owner_only::remove_if_there(&draft)?;
    let mut file = owner_only::create_file(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), owner_only::sync_directory)
}

/// Whether a store was made in a folder.
pub(super) fn is_made(store: &Path) -> bool {
    FORMAT_FILES.iter().any(|name| store.join(name).exists())
}

/// Refuses a folder in which a restore was begun and no site is yet.
pub(super) fn is_no_unfinished_restore(data: &Path) -> Result<(), UnfinishedRestore> {
    let whole = super::key_path(data).exists() && is_made(&super::store_path(data));
    match crate::backup::unfinished(data) {
        Some(place) if !whole => Err(UnfinishedRestore { data: data.to_owned(), place }),
        Some(_) | None => Ok(()),
    }
}

/// Looks at a store's folder before it is opened. A copy gets a life of its own, so that other sites tell it apart.
pub(super) fn look(store: &Path, generation: u128) -> io::Result<Option<Cause>> {
    if !is_made(store) {
        return Ok(None);
    }
    if let Some(made) = read(&store.join(RESTORED))? {
        return Ok(Some(Cause::Restored { made: Timestamp(made.trim().parse().unwrap_or(0)) }));
    }
    let (here, before) = (mark(&fs::metadata(store)?), read(&store.join(PLACE))?);
    if before.is_none() || here.is_none() || before == here {
        return Ok(None);
    }
    if before.is_some_and(|before| !before.starts_with("made ") && !before.starts_with("number ")) {
        let path = store.join(PLACE);
        let path = path.display();
        tracing::warn!(%path, "the file does not say where the store was made, and is written anew: the store counts as copied");
    }
    begin_life(store, generation)?;
    Ok(Some(Cause::Copied))
}

/// Notes where the store lies, once what was noticed is kept in it.
pub(super) fn settle(store: &Path) -> io::Result<()> {
    if let Some(here) = mark(&fs::metadata(store)?)
        && read(&store.join(PLACE))?.as_deref() != Some(here.as_str())
    {
        write(&store.join(PLACE), here.as_bytes())?;
    }
    owner_only::remove_if_there(&store.join(RESTORED))?;
    owner_only::sync_directory(store)
}

#[cfg(test)]
mod tests;
