//! The secret of a webhook: its text, the signature it makes, and its file, which is for the site's owner alone.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use protocol::limits::{WEBHOOK_SECRET_BYTES_MAX, WEBHOOK_SECRET_BYTES_MIN};
use ring::hmac;
use zeroize::Zeroizing;

use crate::identity::owner_only;

/// What a secret's text begins with, by the Standard Webhooks specification.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that is made here.
const BYTES: usize = 32;

/// A text that is no secret. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no webhook secret: it must be whsec_ and the base64 of {WEBHOOK_SECRET_BYTES_MIN} to {WEBHOOK_SECRET_BYTES_MAX} bytes"
)]
pub(crate) struct BadSecret;

/// Why a secret cannot be had from its file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadSecretError {
    #[error("the secret's file {} is gone: remove the webhook and add it again", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is open to other users (mode {mode:04o}): whoever read it can sign in this site's name; remove the webhook and add it again", .path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} holds no webhook secret: remove the webhook and add it again", .path.display())]
    Damaged { path: PathBuf },
    #[error("cannot read {}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
}

/// A key that this site and one receiver share. Zeroed when dropped, never printed.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl Secret {
    /// A fresh one.
    pub(crate) fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new(vec![0; BYTES]);
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(BadSecret)?;
        let bytes = Zeroizing::new(BASE64.decode(encoded.as_bytes()).map_err(|_says_where| BadSecret)?);
        if (WEBHOOK_SECRET_BYTES_MIN..=WEBHOOK_SECRET_BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(BadSecret)
        }
    }

    /// As the receiver is given it.
    pub(crate) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", BASE64.encode(&self.0)))
    }

    /// The value of `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut signing = hmac::Context::with_key(&key);
        signing.update(format!("{id}.{timestamp_s}.").as_bytes());
        signing.update(body);
        format!("v1,{}", BASE64.encode(signing.sign().as_ref()))
    }

    /// Writes it into a folder for the owner alone, durably.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = owner_only::create_file(path)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), owner_only::sync_directory)
    }

    pub(crate) fn load(path: &Path) -> Result<Self, LoadSecretError> {
        let disk = |source: io::Error| match source.kind() == ErrorKind::NotFound {
            true => LoadSecretError::Missing { path: path.to_owned() },
            false => LoadSecretError::Disk { path: path.to_owned(), source },
        };
        if let Some(mode) = owner_only::exposure(path).map_err(disk)? {
            return Err(LoadSecretError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(disk)?);
        Self::parse(&text).map_err(|BadSecret| LoadSecretError::Damaged { path: path.to_owned() })
    }

    /// Takes the file away, if it is there.
    pub(crate) fn forget(path: &Path) -> io::Result<()> {
        fs::remove_file(path)
            .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's libraries.
    #[test]
    fn a_signature_is_the_one_that_the_specification_shows() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_kept_for_its_owner_alone_and_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.secret");
        let secret = Secret::draw().unwrap();
        secret.save(&path).unwrap();
        assert_eq!(Secret::load(&path).unwrap().text(), secret.text());
        assert!(!format!("{secret:?}").contains(secret.text().trim_start_matches(PREFIX)));
        assert!(secret.save(&path).is_err(), "one that is there is not replaced");
        Secret::forget(&path).unwrap();
        Secret::forget(&path).unwrap();
        assert!(matches!(Secret::load(&path), Err(LoadSecretError::Missing { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.secret");
        Secret::draw().unwrap().save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Secret::load(&path), Err(LoadSecretError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_text_of_another_shape_is_no_secret() {
        let of = |bytes: usize| format!("{PREFIX}{}", BASE64.encode(&vec![7; bytes]));
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!", &of(23), &of(65)] {
            assert_eq!(Secret::parse(text).err(), Some(BadSecret), "{text}");
        }
        assert!(Secret::parse(&format!("{}\n", of(24))).is_ok(), "a file ends with a new line");
    }
}
