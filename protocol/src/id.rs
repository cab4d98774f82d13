//! Fixed-size names: sites, feeds, blobs, ops, logs, links, runs, stores. They print, parse and compare; they hold no rule.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};

/// Why a text is not a name of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The text has the wrong number of characters.
    #[error("{kind} takes {expected} hexadecimal characters, found {found}")]
    Length { kind: &'static str, expected: usize, found: usize },
    /// The text has a character outside 0-9 and a-f.
    #[error("{kind} takes hexadecimal characters only")]
    Alphabet { kind: &'static str },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The first eight hexadecimal characters: enough for a person to tell two apart.
            #[must_use]
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(8);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let expected = $bytes * 2;
                if text.len() != expected {
                    return Err(ParseIdError::Length { kind: $kind, expected, found: text.len() });
                }
                let mut bytes = [0; $bytes];
                HEXLOWER_PERMISSIVE
                    .decode_mut(text.as_bytes(), &mut bytes)
                    .map_err(|_partial| ParseIdError::Alphabet { kind: $kind })?;
                Ok(Self(bytes))
            }
        }
    };
}

name!(
    /// A site: its Ed25519 public key. The author of an op is the site that signed its head.
    SiteId, 32, "a site id"
);
name!(
    /// A feed: the hash of its genesis record. Names are local labels; this is the identity.
    FeedId, 32, "a feed id"
);
name!(
    /// Bytes, by their blake3 hash.
    BlobId, 32, "a blob id"
);
name!(
    /// An op, by the hash of its canonical bytes.
    OpId, 32, "an op id"
);
name!(
    /// One store directory's life: new at creation and after every restore, so that cursors into another life are refused.
    StoreId, 8, "a store id"
);
name!(
    /// One run of a link, unique at the site that recorded it.
    RunId, 8, "a run id"
);

/// One author's log in one feed. An epoch ends when its author has lost count of how far it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "every id is named after its noun")]
pub struct LogId {
    pub feed: FeedId,
    pub author: SiteId,
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_prints_and_parses_to_itself() {
        let id = BlobId([0xa5; 32]);
        assert_eq!(id.to_string().parse::<BlobId>().unwrap(), id);
        assert_eq!(id.short(), "a5a5a5a5");
    }

    #[test]
    fn a_name_of_the_wrong_length_or_alphabet_is_refused() {
        assert_eq!(
            "abc".parse::<StoreId>(),
            Err(ParseIdError::Length { kind: "a store id", expected: 16, found: 3 })
        );
        assert_eq!("zzzzzzzzzzzzzzzz".parse::<StoreId>(), Err(ParseIdError::Alphabet { kind: "a store id" }));
    }
}
