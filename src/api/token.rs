//! Shapes of tokens of package clients.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Asks for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    pub label: String,
    #[serde(default)]
    /// Feeds it is good for, by name or id; none means all.
    pub feeds: Vec<String>,
    #[serde(default)]
    pub write: bool,
    /// May use the whole API over TCP.
    #[serde(default)]
    pub admin: bool,
}

/// A new token. The secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    pub token: String,
    pub about: Token,
}

impl fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMade").field("about", &self.about).finish_non_exhaustive()
    }
}

/// One token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    pub label: String,
    /// The feeds it is good for, by their names of now; none means all.
    pub feeds: Vec<String>,
    #[serde(default)]
    /// The same feeds by what stays: whatever gets a feed's name later is another one.
    pub feed_ids: Vec<String>,
    pub write: bool,
    pub admin: bool,
    pub created_ms: u64,
}

/// All tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub tokens: Vec<Token>,
}
