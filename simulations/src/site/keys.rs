//! This site's keys: a new one, and the first one in the hands of a thief.

use packetboat::keeper::own_log;
use protocol::grant::Permitted;
use protocol::id::{FeedId, LogId};
use protocol::log::{Entry, Head, NamedOp, Verified};
use protocol::manifest::File;
use protocol::op::{Body, Closing, Op, OpenEpoch, Place, Publish};
use protocol::succession::generation_of;
use protocol::time::Hlc;

use super::people::{coordinate, manifest};
use super::{Site, Unsaid};

/// What the names of packages begin with that a thief publishes.
pub const STOLEN: &str = "stolen-";

impl Site {
    /// Changes this site's key, and says the first op under it, which closes the logs of the keys before. Gives that op. As at a node the key
    /// has its place before that is said: where the disk refuses, it is said later.
    ///
    /// # Errors
    /// The disk refused, or the site waits to learn what it said.
    pub fn new_key(&mut self, now: u64, feed: FeedId) -> Result<NamedOp, Unsaid> {
        if self.again.is_silent() {
            return Err(Unsaid { doubtful: None });
        }
        let seed = self.entropy.fork("key").key();
        self.key = self.key.followed_by(&seed);
        self.open_epoch(now, feed)
    }

    /// Whether this site may have said more than it knows, by the node's rule for those who ask for a new key.
    #[must_use]
    pub fn may_have_said_more(&self) -> bool {
        self.had_to_learn()
            || own_log::unheard(self.store(), self.id()).is_ok_and(|unheard| !unheard.is_empty())
    }

    /// A thief of `victim`'s first key goes on with the last log that it signed, at this site's disk, if that log is here as far as the
    /// victim has it.
    pub fn forge(&mut self, now: u64, feed: FeedId, victim: &Self) -> Option<NamedOp> {
        let own = own_log::heads(victim.store(), victim.id(), feed).ok()?;
        let of_first = |head: &&Head| generation_of(head.log.epoch) == 0;
        let end = own.iter().rfind(of_first).filter(|_| own.iter().any(|head| !of_first(&head)))?;
        let log = end.log;
        let held = self.store().log_state(log).ok()??.after;
        if held.root() != end.root {
            return None;
        }
        let mut ingest = self.store().ingest();
        ingest.write(b"stolen").ok()?;
        let stored = ingest.finish().ok()?;
        let file =
            File { name: "file".to_owned(), blob: stored.blob, size: stored.size, sha256: stored.sha256 };
        let body = Body::Publish(Publish {
            coordinate: coordinate(&format!("{STOLEN}{now}")),
            manifest: manifest(file),
            supersedes: Vec::new(),
            provenance: None,
        });
        let wall = self.wall(now);
        let said =
            Verified::author(victim.first.signing_key(), log, &held, vec![body], Hlc(wall.0 << 16), wall);
        let named = said.ops().first().cloned();
        self.store().append(&[Permitted::local(said, false).ok()?]).ok()?;
        named
    }

    /// What later keys of a log's author accept of its earlier keys' logs, as far as it is held here.
    #[must_use]
    pub fn closings(&self, log: LogId) -> Vec<Closing> {
        let heads =
            self.store().heads(log.feed).unwrap_or_default().into_iter().map(|signed| signed.head.log);
        let later = heads.filter(|other| {
            other.author == log.author && generation_of(other.epoch) > generation_of(log.epoch)
        });
        let closing = |log: LogId| {
            let batches = self.store().batches(log, 0, 1).unwrap_or_default();
            let Some(Entry::Op(first)) = batches.first()?.entries.first() else { return None };
            let body = Op::decode_statement(Place { log, seq: 0 }, first).ok()?.body;
            if let Body::OpenEpoch(OpenEpoch { closes, .. }) = body { closes } else { None }
        };
        later.filter_map(closing).collect()
    }
}
