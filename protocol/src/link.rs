//! One configured link: which site, who dials, which feeds, what each may do, and how often.

use serde::{Deserialize, Serialize};

use crate::grant::Switches;
use crate::id::{FeedId, SiteId};

/// Who opens the connection. It says nothing of which way content flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dial {
    /// The other site connects here.
    Incoming,
    /// This site connects to the first of these `host:port` that answers.
    Outgoing { addresses: Vec<String> },
}

/// One feed on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Feed alone would read as the feed itself")]
pub struct LinkFeed {
    pub feed: FeedId,
    /// Outgoing: what this site asks (its mode). Incoming: what this site allows (its grant). Both in this site's terms.
    pub switches: Switches,
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
    /// Milliseconds between runs; none means only when told. Outgoing links only.
    pub every_ms: Option<u64>,
    pub paused: bool,
}

impl Link {
    /// What is configured for a feed.
    #[must_use]
    pub fn switches(&self, feed: FeedId) -> Option<Switches> {
        self.feeds.iter().find(|on| on.feed == feed).map(|on| on.switches)
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
        let on = LinkFeed { feed: FeedId([1; 32]), switches: Switches::PULL };
        let link = Link {
            name: "tokyo".to_owned(),
            peer: SiteId([2; 32]),
            peer_name: "Tokyo".to_owned(),
            dial: Dial::Incoming,
            feeds: vec![on],
            every_ms: None,
            paused: false,
        };
        assert_eq!(link.switches(FeedId([1; 32])), Some(Switches::PULL));
        assert_eq!(link.switches(FeedId([9; 32])), None);
        assert!(!link.is_outgoing());
    }
}
