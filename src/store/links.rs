//! The links of this site, as they are configured here.

use protocol::link::Link;

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

impl Store {
    /// Makes a link known, or changes the one of that name. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_link(&self, link: &Link) -> Result<(), WriteError> {
        self.put_record(Shelf::Links, link.name.as_bytes(), &keys::encode(link))
    }

    /// Forgets a link. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn remove_link(&self, name: &str) -> Result<(), WriteError> {
        self.remove_record(Shelf::Links, name.as_bytes())
    }

    /// The link of that name.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn link(&self, name: &str) -> Result<Option<Link>, ReadError> {
        self.record(Shelf::Links, name.as_bytes())?.map(|value| self.understood(&value)).transpose()
    }

    /// All links, in order of name.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn links(&self) -> Result<Vec<Link>, ReadError> {
        let links = self.records(Shelf::Links, &[], &[], usize::MAX)?;
        links.iter().map(|(_, value)| self.understood(value)).collect()
    }
}
