//! Tokens of package clients and scripts: 256 random bits, kept as a hash, good for some feeds.

use std::sync::Mutex;

use data_encoding::BASE32_NOPAD;
use protocol::id::FeedId;
use serde::{Deserialize, Serialize};

use super::feeds::{label, named};
use super::problem::{not_found, usage};
use super::{Node, locked, random};
use crate::api::{self, Problem};
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{ReadError, Shelf};

const PREFIX: &str = "pbt_";
const ID_CONTEXT: &str = "packetboat 2026-11 token id v1";
const HASH_CONTEXT: &str = "packetboat 2026-11 token hash v1";
const PAGE_TOKENS: usize = 256;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct TokenRecord {
    hash: [u8; 32],
    about: api::Token,
    /// Whether the feeds are known by their ids. Records of before had names alone, and a name may come to be another feed's.
    #[serde(default)]
    bound: bool,
}

impl TokenRecord {
    /// As people are told of it: its feeds by their names of now, one that is gone by its id.
    fn told(self, site: &SiteStore) -> Result<api::Token, ReadError> {
        let mut about = self.about;
        if !about.feed_ids.is_empty() {
            let name =
                |id: &String| id.parse::<FeedId>().map_or_else(|_| Ok(id.clone()), |id| label(site, id));
            about.feeds = about.feed_ids.iter().map(name).collect::<Result<_, _>>()?;
        }
        Ok(about)
    }
}

/// Held while a token is bound or withdrawn: what is read of one is not written again once it is gone.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Binds a token of before to the feeds that have its names now, once: whatever is called so later is another feed. Gives nothing for one that was
/// withdrawn since it was read.
fn bind(site: &SiteStore, record: TokenRecord) -> Result<Option<TokenRecord>, Problem> {
    if record.bound {
        return Ok(Some(record));
    }
    let _one = locked(&ONE_AT_A_TIME);
    if site.store().record(Shelf::Tokens, record.about.id.as_bytes())?.is_none() {
        return Ok(None);
    }
    let mut bound = TokenRecord { bound: true, ..record };
    for name in &bound.about.feeds {
        bound.about.feed_ids.extend(site.store().feed_named(name)?.map(|(feed, _)| feed.to_string()));
    }
    let value = encoded(&bound)?;
    site.store().put_record(Shelf::Tokens, bound.about.id.as_bytes(), &value)?;
    Ok(Some(bound))
}

fn encoded(record: &TokenRecord) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(record).map_err(|error| Problem::new(500, "bug", "A defect", error.to_string()))
}

/// All tokens, each bound to its feeds.
fn all(site: &SiteStore) -> Result<Vec<TokenRecord>, Problem> {
    let mut tokens = Vec::new();
    let mut from = Vec::new();
    loop {
        let page = site.store().records(Shelf::Tokens, &[], &from, PAGE_TOKENS)?;
        let Some((last, _)) = page.last() else { return Ok(tokens) };
        from = [last.as_slice(), &[0]].concat();
        for (_, value) in &page {
            if let Ok(record) = serde_json::from_slice::<TokenRecord>(value) {
                tokens.extend(bind(site, record)?);
            }
        }
    }
}

/// The site, with every token bound before a feed can get another name: tokens of before name their feeds alone.
pub(super) fn bound(site: SiteStore) -> SiteStore {
    if let Err(problem) = all(&site) {
        tracing::warn!(problem = problem.detail, "tokens that name their feeds were not bound to them");
    }
    site
}

/// The part of a token's hash that names it: found by lookup, so the comparison that matters is of the other part.
fn id_of(token: &str) -> String {
    let hash = blake3::derive_key(ID_CONTEXT, token.as_bytes());
    data_encoding::HEXLOWER.encode(hash.get(..8).unwrap_or_default())
}

impl Node {
    /// Makes a token. Its text is told this once.
    ///
    /// # Errors
    /// A feed is unknown, an administrator is to be bound to feeds, or the disk refuses.
    pub async fn create_token(&self, new: api::NewToken) -> Result<api::TokenMade, Problem> {
        if new.admin && !new.feeds.is_empty() {
            let detail = "a token of an administrator is for all feeds and the whole site".to_owned();
            return Err(usage(detail).hint("leave out the feeds, or give `write` instead"));
        }
        let secret = random::<32>()
            .map_err(|error| Problem::new(500, "random", "No randomness", error.to_string()))?;
        self.blocking(move |site| {
            let (mut feeds, mut feed_ids) = (Vec::new(), Vec::new());
            for feed in &new.feeds {
                let (id, record) = named(site, feed)?;
                feeds.push(record.name);
                feed_ids.push(id.to_string());
            }
            let token = format!("{PREFIX}{}", BASE32_NOPAD.encode(&secret).to_ascii_lowercase());
            let about = api::Token {
                id: id_of(&token),
                label: new.label,
                feeds,
                feed_ids,
                write: new.write,
                admin: new.admin,
                created_ms: wall_clock().0,
            };
            let record = TokenRecord {
                hash: blake3::derive_key(HASH_CONTEXT, token.as_bytes()),
                about: about.clone(),
                bound: true,
            };
            let value = encoded(&record)?;
            site.store().put_record(Shelf::Tokens, about.id.as_bytes(), &value)?;
            Ok(api::TokenMade { token, about })
        })
        .await
    }

    /// All tokens, without their secrets.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn tokens(&self) -> Result<api::Tokens, Problem> {
        self.blocking(|site| {
            let told = all(site)?.into_iter().map(|record| record.told(site));
            Ok(api::Tokens { tokens: told.collect::<Result<_, _>>()? })
        })
        .await
    }

    /// Withdraws a token.
    ///
    /// # Errors
    /// There is none of that id, or the disk refuses.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Problem> {
        let id = id.to_owned();
        self.blocking(move |site| withdraw(site, &id)).await
    }

    /// Whether there is a token of that id, which was not withdrawn.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) async fn has_token(&self, id: &str) -> Result<bool, Problem> {
        let id = id.to_owned();
        self.blocking(move |site| Ok(site.store().record(Shelf::Tokens, id.as_bytes())?.is_some())).await
    }

    /// What a presented token is good for; nothing for one that is not known.
    ///
    /// # Errors
    /// The disk fails: whether it is known cannot be told.
    pub async fn check_token(&self, presented: &str) -> Result<Option<api::Token>, Problem> {
        let presented = presented.to_owned();
        self.blocking(move |site| checked(site, &presented)).await
    }
}

fn withdraw(site: &SiteStore, id: &str) -> Result<(), Problem> {
    let _one = locked(&ONE_AT_A_TIME);
    if site.store().record(Shelf::Tokens, id.as_bytes())?.is_none() {
        return Err(not_found("token", id));
    }
    Ok(site.store().remove_record(Shelf::Tokens, id.as_bytes())?)
}

fn checked(site: &SiteStore, presented: &str) -> Result<Option<api::Token>, Problem> {
    let value = site.store().record(Shelf::Tokens, id_of(presented).as_bytes())?;
    let record = value.and_then(|value| serde_json::from_slice::<TokenRecord>(&value).ok());
    let hash = blake3::derive_key(HASH_CONTEXT, presented.as_bytes());
    // blake3's hash type compares in constant time.
    let proved =
        record.filter(|record| blake3::Hash::from_bytes(hash) == blake3::Hash::from_bytes(record.hash));
    let Some(record) = proved else { return Ok(None) };
    Ok(bind(site, record)?.map(|record| record.told(site)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::a_feed;

    /// A token of before is read to be bound, and withdrawn before it is.
    #[test]
    fn a_token_that_was_withdrawn_is_not_written_back_by_who_still_binds_it() {
        let (key, store, _) = a_feed();
        let site = SiteStore::new(store.clone(), key);
        let about = api::Token {
            id: "aa".to_owned(),
            label: "ci".to_owned(),
            feeds: vec!["tools".to_owned()],
            feed_ids: Vec::new(),
            write: true,
            admin: false,
            created_ms: 1,
        };
        let read = TokenRecord { hash: [1; 32], about, bound: false };
        store.put_record(Shelf::Tokens, b"aa", &encoded(&read).unwrap()).unwrap();
        assert!(bind(&site, read.clone()).unwrap().is_some());
        withdraw(&site, "aa").unwrap();
        assert!(bind(&site, read).unwrap().is_none());
        assert!(all(&site).unwrap().is_empty());
    }
}
