//! The site key on disk: the one secret of a site, the id that the first one gave, and the keys derived from it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use protocol::id::SiteId;
use protocol::succession::Succession;
use zeroize::Zeroizing;

pub(crate) mod owner_only;
#[cfg(test)]
mod tests;

/// Bytes of an Ed25519 seed. A site's first key is a file of these alone; in a later one the site and its keys so far follow.
const SEED_BYTES: usize = 32;

/// Bytes of the longest key file.
const KEY_BYTES_MAX: u64 = 4096;

/// RFC 8410: the DER of a version 1 `OneAsymmetricKey` up to the seed.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why a site key could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// There is a key already. It is never overwritten: a site that loses its key is another site.
    #[error("{} already holds a site key; remove it yourself if this site is to get a new identity", .path.display())]
    Exists { path: PathBuf },
    /// The directory of the key lets other users in.
    #[error("{} must be a directory for its owner alone (mode 0700), it has mode {mode:04o}", .path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// The operating system gave no random bytes.
    #[error("no random bytes for a site key: {reason}")]
    Randomness { reason: getrandom::Error },
    /// The disk refused.
    #[error("cannot write the site key at {}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
}

/// Why a site key could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeyError {
    /// There is none.
    #[error("{} holds no site key; `packetboat init` creates one", .path.display())]
    Missing { path: PathBuf },
    /// Other users of the machine can reach the key, so it may be stolen already.
    #[error("{} is open to other users (mode {mode:04o}); a site key must be 0600 in a 0700 directory", .path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// The file is not a key.
    #[error("{} is not a site key: it is cut, or of another release", .path.display())]
    Damaged { path: PathBuf },
    /// The disk refused.
    #[error("cannot read the site key at {}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
}

/// A site's secret, with the keys that led to it. Zeroed when dropped, never printed.
#[derive(Clone)]
pub struct SiteKey {
    signing: SigningKey,
    site: SiteId,
    succession: Succession,
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKey(of {})", self.site_id().short())
    }
}

impl SiteKey {
    /// The first key of a site, of this seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let site = SiteId(signing.verifying_key().to_bytes());
        Self { signing, site, succession: Succession::NONE }
    }

    /// The key of this seed, named by this one to follow it.
    #[must_use]
    pub fn followed_by(&self, seed: &[u8; SEED_BYTES]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let key = SiteId(signing.verifying_key().to_bytes());
        let succession = self.succession.followed_by(self.site, &self.signing, key);
        Self { signing, site: self.site, succession }
    }

    /// Draws a key and writes it to `path`, durably. A missing directory is made.
    ///
    /// # Errors
    /// [`CreateKeyError`]; an existing key is left alone.
    pub fn create(path: &Path) -> Result<Self, CreateKeyError> {
        let disk = |source| CreateKeyError::Disk { path: path.to_owned(), source };
        let directory = directory_of(path);
        owner_only::make_directory(directory).map_err(disk)?;
        if let Some(mode) = owner_only::exposure(directory).map_err(disk)? {
            return Err(CreateKeyError::Exposed { path: directory.to_owned(), mode });
        }
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        getrandom::fill(seed.as_mut_slice()).map_err(|reason| CreateKeyError::Randomness { reason })?;
        let key = Self::from_seed(&seed);
        key.copy_to(path).map_err(|source| match source.kind() == io::ErrorKind::AlreadyExists {
            true => CreateKeyError::Exists { path: path.to_owned() },
            false => disk(source),
        })?;
        Ok(key)
    }

    /// Writes the key to a file that is not there yet, for its owner alone, durably. Whatever happens it is there whole or not at all.
    ///
    /// # Errors
    /// There is a file, or the disk refuses.
    pub fn copy_to(&self, path: &Path) -> io::Result<()> {
        owner_only::make_directory(directory_of(path))?;
        let draft = path.with_extension("draft");
        self.write_draft(&draft)?;
        let placed = match fs::hard_link(&draft, path) {
            // Not every file system has links.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
                return fs::rename(&draft, path)
                    .and_then(|()| owner_only::sync_directory(directory_of(path)));
            }
            placed => placed,
        };
        fs::remove_file(&draft)?;
        placed?;
        owner_only::sync_directory(directory_of(path))
    }

    /// Writes the key to a file of which an earlier attempt may have left a part.
    fn write_draft(&self, path: &Path) -> io::Result<()> {
        owner_only::remove_if_there(path)?;
        let mut file = owner_only::create_file(path)?;
        let written = file.write_all(&self.encode()).and_then(|()| file.sync_all());
        // A part of a key is none.
        written.inspect_err(|_error| drop(fs::remove_file(path)))
    }

    /// Puts the key in the place of the one at `path`, durably: whatever happens, one of the two is there whole.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn replace(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        // A kill may have left one of the key that is replaced.
        owner_only::remove_if_there(&path.with_extension("draft"))?;
        self.write_draft(&fresh)?;
        fs::rename(&fresh, path)?;
        owner_only::sync_directory(directory_of(path))
    }

    /// The bytes of its file, which nobody else may see.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(usize::try_from(KEY_BYTES_MAX).unwrap_or_default()));
        bytes.extend_from_slice(self.signing.as_bytes());
        if self.succession != Succession::NONE {
            bytes.extend_from_slice(self.site.as_bytes());
            bytes.extend(postcard::to_allocvec(&self.succession).unwrap_or_default());
        }
        bytes
    }

    /// The key in a file's bytes: the seed, and where it is not the site's first key the site and the keys that lead to it. Nothing for others.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (seed, rest) = bytes.split_first_chunk::<SEED_BYTES>()?;
        let first = Self::from_seed(seed);
        if rest.is_empty() {
            return Some(first);
        }
        let (site, rest) = rest.split_first_chunk::<32>()?;
        let (succession, rest) = postcard::take_from_bytes::<Succession>(rest).ok()?;
        let site = SiteId(*site);
        let whole = rest.is_empty() && succession.check(site) == Ok(first.public());
        whole.then_some(Self { signing: first.signing, site, succession })
    }

    /// Reads the key at `path`.
    ///
    /// # Errors
    /// [`LoadKeyError`]; on unix a key that others could have read is refused.
    pub fn load(path: &Path) -> Result<Self, LoadKeyError> {
        let disk = |source: io::Error| match source.kind() == io::ErrorKind::NotFound {
            true => LoadKeyError::Missing { path: path.to_owned() },
            false => LoadKeyError::Disk { path: path.to_owned(), source },
        };
        for place in [directory_of(path), path] {
            if let Some(mode) = owner_only::exposure(place).map_err(disk)? {
                return Err(LoadKeyError::Exposed { path: place.to_owned(), mode });
            }
        }
        let damaged = || LoadKeyError::Damaged { path: path.to_owned() };
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(usize::try_from(KEY_BYTES_MAX).unwrap_or_default()));
        File::open(path).map_err(disk)?.take(KEY_BYTES_MAX).read_to_end(&mut bytes).map_err(disk)?;
        Self::decode(&bytes).ok_or_else(damaged)
    }

    /// The site, by which everyone knows it: the public half of its first key.
    #[must_use]
    pub const fn site_id(&self) -> SiteId {
        self.site
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SiteId {
        SiteId(self.signing.verifying_key().to_bytes())
    }

    /// The keys that led to this one.
    #[must_use]
    pub const fn succession(&self) -> &Succession {
        &self.succession
    }

    /// The key that signs heads and records.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// The key as PKCS #8 DER, as TLS libraries take it.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + SEED_BYTES));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(self.signing.as_bytes());
        der
    }

    /// A secret for one purpose, named by `context`; the same for every life of the site, so that a
    /// restarted node can still answer for what it said before.
    #[must_use]
    pub fn derive(&self, context: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(context, self.signing.as_bytes()))
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
