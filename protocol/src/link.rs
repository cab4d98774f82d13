//! One configured link: which site, who dials, which feeds, what each may do, and how often.

use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::id::{FeedId, SiteId};
use crate::switches::Switches;
use crate::time::Timestamp;
use crate::timetable::Window;

/// Who opens the connection. It says nothing of which way content flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dial {
    /// The other site connects here.
    Incoming,
    /// This site connects to the first of these `host:port` that answers.
    Outgoing { addresses: Vec<String> },
}

/// One feed on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Feed alone would read as the feed itself")]
pub struct LinkFeed {
    pub feed: FeedId,
    /// Outgoing: what this site asks (its mode). Incoming: what this site allows (its grant). Both in this site's terms.
    pub switches: Switches,
    /// What of the feed this end lets the link carry, either way.
    pub filter: Filter,
    /// Incoming: until when the grant holds, by this site's clock; none is until it is changed.
    pub expires: Option<Timestamp>,
}

/// What becomes of feeds that either end comes by after the link was made: `--feed '*'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFeeds {
    /// Each feed of this site goes on the link and is offered to the other end.
    pub offers: bool,
    /// Each feed that the other end offers goes on the link here.
    pub takes: bool,
    /// What a feed that goes on the link so is set to here, as in [`LinkFeed::switches`].
    pub switches: Switches,
    pub filter: Filter,
    /// Incoming: until when it holds.
    pub expires: Option<Timestamp>,
}

/// Which bytes come first. Ops, and with them deletions, always come before any bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Priority {
    /// Many small packages before one large one.
    #[default]
    SmallestFirst,
    /// What was published last before what has waited for long.
    NewestFirst,
}

/// When bytes are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Fetch {
    /// As soon as their ops are here.
    #[default]
    Always,
    /// When a client asks for them.
    OnDemand,
}

/// Bytes a second that a link may carry at most, each way; none is no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caps {
    pub in_bytes_per_s: Option<u64>,
    pub out_bytes_per_s: Option<u64>,
}

/// One link as it is configured at one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// This site's name for it.
    pub name: String,
    pub peer: SiteId,
    /// The name the other site gave itself.
    pub peer_name: String,
    pub dial: Dial,
    pub feeds: Vec<LinkFeed>,
    /// None: the link carries the feeds it has and no others.
    pub new_feeds: Option<NewFeeds>,
    /// Milliseconds between runs; none means only when told. Outgoing links only.
    pub every_ms: Option<u64>,
    /// Whether what is appended here is pushed on at once, and what the other site has new is taken at once.
    pub live: bool,
    /// When the link may run; none is always. Incoming: when the other site may run it.
    pub windows: Vec<Window>,
    pub caps: Caps,
    pub priority: Priority,
    pub fetch: Fetch,
    pub paused: bool,
}

impl Link {
    /// A link as it is made: live, without windows or caps.
    #[must_use]
    pub const fn new(
        name: String,
        peer: SiteId,
        peer_name: String,
        dial: Dial,
        feeds: Vec<LinkFeed>,
    ) -> Self {
        Self {
            name,
            peer,
            peer_name,
            dial,
            feeds,
            new_feeds: None,
            every_ms: None,
            live: true,
            windows: Vec::new(),
            caps: Caps { in_bytes_per_s: None, out_bytes_per_s: None },
            priority: Priority::SmallestFirst,
            fetch: Fetch::Always,
            paused: false,
        }
    }

    /// What is configured for a feed.
    #[must_use]
    pub fn on(&self, feed: FeedId) -> Option<&LinkFeed> {
        self.feeds.iter().find(|on| on.feed == feed)
    }

    /// What is configured to flow of a feed.
    #[must_use]
    pub fn switches(&self, feed: FeedId) -> Option<Switches> {
        self.on(feed).map(|on| on.switches)
    }

    /// Whether this site opens the connection.
    #[must_use]
    pub const fn is_outgoing(&self) -> bool {
        matches!(self.dial, Dial::Outgoing { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_that_is_not_on_the_link_has_no_switches() {
        let on = LinkFeed {
            feed: FeedId([1; 32]),
            switches: Switches::PULL,
            filter: Filter::default(),
            expires: None,
        };
        let link =
            Link::new("tokyo".to_owned(), SiteId([2; 32]), "Tokyo".to_owned(), Dial::Incoming, vec![on]);
        assert_eq!(link.switches(FeedId([1; 32])), Some(Switches::PULL));
        assert_eq!(link.switches(FeedId([9; 32])), None);
        assert!(!link.is_outgoing());
    }
}
