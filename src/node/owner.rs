//! Whose store it is, and by which of that site's keys it was last signed for: it is served with no other one.

use std::path::Path;

use protocol::id::SiteId;

use super::StartError;
use crate::identity::SiteKey;
use crate::store::{Shelf, Store, WriteError};

/// The key of the record that tells whose store it is.
const OWNER: &[u8] = b"owner";
/// The key of the record that tells its site's newest key: its number, big-endian, and itself.
const NEWEST: &[u8] = b"newest-key";

/// Refuses another site's key, which would say in that one's name what is held of this one, and an older key of this site, by which nobody takes it
/// for itself and whose log is closed. Notes the key otherwise. A disk that cannot tell is no reason not to start.
///
/// # Errors
/// See [`StartError`].
pub(super) fn belongs(store: &Store, folder: &Path, key: &SiteKey) -> Result<(), StartError> {
    let me = key.site_id();
    let noted = |name| store.record(Shelf::Settings, name).ok().flatten();
    let was = noted(OWNER).and_then(|noted| noted.as_slice().try_into().ok()).map(SiteId);
    if let Some(was) = was.filter(|was| *was != me) {
        return Err(StartError::OtherKey { folder: folder.to_owned(), was, is: me });
    }
    let newest = noted(NEWEST).as_deref().and_then(newest);
    let number = key.succession().generation();
    if let Some((_, newest)) = newest.filter(|(known, _)| *known > number) {
        return Err(StartError::OlderKey { folder: folder.to_owned(), newest });
    }
    let written = match (was, newest) {
        (Some(_), Some((known, _))) if known == number => Ok(()),
        (Some(_), _) => note_newest(store, key),
        (None, _) => {
            let owner = store.put_record(Shelf::Settings, OWNER, me.as_bytes());
            owner.and_then(|()| note_newest(store, key))
        }
    };
    if let Err(error) = written {
        tracing::warn!(%error, "whose store this is could not be noted");
    }
    Ok(())
}

/// Notes the key by which the store is signed for from here on.
///
/// # Errors
/// The disk refuses.
pub(super) fn note_newest(store: &Store, key: &SiteKey) -> Result<(), WriteError> {
    let number = key.succession().generation();
    store.put_record(Shelf::Settings, NEWEST, &[&number.to_be_bytes(), &key.public().0[..]].concat())
}

fn newest(noted: &[u8]) -> Option<(u64, SiteId)> {
    let (number, key) = noted.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), SiteId(key.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies on disk is read by every later version.
    #[test]
    fn the_note_of_the_newest_key_is_these_bytes() {
        let noted = [&[0, 0, 0, 0, 0, 0, 1, 2][..], &[7; 32]].concat();
        assert_eq!(newest(&noted), Some((258, SiteId([7; 32]))));
        assert_eq!(newest(&noted[1..]), None);
    }
}
