//! What of a link can be set: mode, filter, interval, windows, caps, order, when bytes are fetched.

use protocol::filter::Filter;
use protocol::id::FeedId;
use protocol::limits::WINDOWS_MAX;
use protocol::link::{Dial, Fetch, Link, Priority};
use protocol::switches::Switches;
use protocol::time::Timestamp;
use protocol::timetable::{Window, parse_rate};

use super::hours::zone;
use super::problem::usage;
use crate::api::{self, Problem};
use crate::keeper::wall_clock;

/// Bytes a second below which no cap may lie: an extent must cross within the time a run may go without progress.
const CAP_BYTES_PER_S_MIN: u64 = 8_000;

fn bad(error: impl std::fmt::Display) -> Problem {
    usage(format!("{error}"))
}

fn cap(text: &str) -> Result<Option<u64>, Problem> {
    if text == "none" {
        return Ok(None);
    }
    match parse_rate(text).map_err(bad)? {
        rate if rate < CAP_BYTES_PER_S_MIN => {
            Err(usage(format!("{text:?} is too little: a link needs 64kbit or more")))
        }
        rate => Ok(Some(rate)),
    }
}

fn windows(texts: &[String], zone_name: &str) -> Result<Vec<Window>, Problem> {
    if texts.len() > WINDOWS_MAX {
        return Err(usage(format!("{} windows, and at most {WINDOWS_MAX} are allowed", texts.len())));
    }
    zone(zone_name)?;
    let window = |text: &String| {
        let window: Window = text.parse().map_err(bad)?;
        if window.cap_bytes_per_s.is_some_and(|cap| cap < CAP_BYTES_PER_S_MIN) {
            return Err(usage(format!("the pace in {text:?} is too little: a link needs 64kbit or more")));
        }
        Ok(Window { zone: zone_name.to_owned(), ..window })
    };
    texts.iter().map(window).collect()
}

/// What mode, filter and the end of a grant are meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    All,
    Feed(FeedId),
    /// Feeds that come on the link later.
    NewFeeds,
}

impl Meant {
    fn has(self, feed: FeedId) -> bool {
        self == Self::All || self == Self::Feed(feed)
    }
}

/// Sets mode and filter, of feeds on the link and of those to come.
fn set_terms(link: &mut Link, change: &api::LinkChange, meant: Meant) -> Result<(), Problem> {
    let to_come = matches!(meant, Meant::All | Meant::NewFeeds);
    if let Some(mode) = &change.mode {
        let stated: Switches = mode.parse().map_err(bad)?;
        let switches = if link.is_outgoing() { stated } else { stated.flip() };
        link.feeds.iter_mut().filter(|on| meant.has(on.feed)).for_each(|on| on.switches = switches);
        if let Some(new) = link.new_feeds.as_mut().filter(|_| to_come) {
            new.switches = switches;
        }
    }
    if let Some(text) = &change.filter {
        let filter: Filter = text.parse().map_err(bad)?;
        link.feeds.iter_mut().filter(|on| meant.has(on.feed)).for_each(|on| on.filter = filter.clone());
        if let Some(new) = link.new_feeds.as_mut().filter(|_| to_come) {
            new.filter = filter;
        }
    }
    Ok(())
}

/// A poll costs a round trip, which takes 600 ms by satellite; news between two is pushed.
const EVERY_MS_MIN: u64 = 1_000;

/// How often a link runs by itself; 0 is never.
pub(super) fn rhythm(every_ms: u64) -> Result<Option<u64>, Problem> {
    match every_ms {
        0 => Ok(None),
        1..EVERY_MS_MIN => {
            Err(usage(format!("a link cannot run every {every_ms} ms: at most once a second"))
                .hint("--every 1s, or more"))
        }
        EVERY_MS_MIN.. => Ok(Some(every_ms)),
    }
}

/// Changes a link as asked.
pub(super) fn apply(link: &mut Link, change: api::LinkChange, meant: Meant) -> Result<(), Problem> {
    let outgoing = link.is_outgoing();
    let name = link.name.clone();
    let mine = |what: &str| usage(format!("link {name:?} is incoming: {what}"));
    if let Meant::Feed(feed) = meant
        && link.on(feed).is_none()
    {
        return Err(usage(format!("link {name:?} does not carry that feed")));
    }
    set_terms(link, &change, meant)?;
    if let Some(word) = &change.new_feeds {
        link.new_feeds = super::new_feeds::ruled(link, word, change.mode.as_deref())?;
    }
    if meant == Meant::NewFeeds && link.new_feeds.is_none() {
        return Err(
            usage(format!("link {name:?} takes up no further feeds")).hint("--new-feeds take, offer or both")
        );
    }
    if let Some(every_ms) = change.every_ms {
        if !outgoing {
            return Err(mine("the other site decides when it runs"));
        }
        link.every_ms = rhythm(every_ms)?;
    }
    if let Some(life_ms) = change.grant_life_ms {
        if outgoing {
            return Err(usage(format!("link {name:?} is outgoing: the other site grants what it allows")));
        }
        let expires = (life_ms > 0).then(|| Timestamp(wall_clock().0.saturating_add(life_ms)));
        link.feeds.iter_mut().filter(|on| meant.has(on.feed)).for_each(|on| on.expires = expires);
        if let Some(new) = link.new_feeds.as_mut().filter(|_| !matches!(meant, Meant::Feed(_))) {
            new.expires = expires;
        }
    }
    if change.windows.is_some() || change.zone.is_some() {
        let texts = change.windows.unwrap_or_else(|| {
            let plain = link.windows.iter().map(|window| Window { zone: String::new(), ..window.clone() });
            plain.map(|window| window.to_string()).collect()
        });
        let held = link.windows.first().map_or_else(String::new, |window| window.zone.clone());
        link.windows = windows(&texts, change.zone.as_deref().unwrap_or(&held))?;
    }
    let capped = |text: &Option<String>, held| text.as_deref().map_or(Ok(held), cap);
    link.caps.in_bytes_per_s = capped(&change.cap_in, link.caps.in_bytes_per_s)?;
    link.caps.out_bytes_per_s = capped(&change.cap_out, link.caps.out_bytes_per_s)?;
    link.priority = match change.priority.as_deref() {
        None => link.priority,
        Some("smallest") => Priority::SmallestFirst,
        Some("newest") => Priority::NewestFirst,
        Some(other) => return Err(usage(format!("{other:?} is no order: use smallest or newest"))),
    };
    link.fetch = match change.fetch.as_deref() {
        None => link.fetch,
        Some("always") => Fetch::Always,
        Some("on-demand") => Fetch::OnDemand,
        Some(other) => return Err(usage(format!("{other:?} is neither always nor on-demand"))),
    };
    link.live = change.live.unwrap_or(link.live);
    link.paused = change.paused.unwrap_or(link.paused);
    if let Some(addresses) = change.addresses {
        let Dial::Outgoing { addresses: held } = &mut link.dial else {
            return Err(mine("it has no address to dial"));
        };
        addresses.iter().try_for_each(|address| check_address(address))?;
        *held = addresses;
    }
    Ok(())
}

/// Whether a change leaves the terms of a standing session as they are, so that it need not begin anew.
pub(super) fn keeps_session(change: &api::LinkChange) -> bool {
    let only_paces = api::LinkChange {
        cap_in: change.cap_in.clone(),
        cap_out: change.cap_out.clone(),
        every_ms: change.every_ms,
        live: change.live,
        windows: change.windows.clone(),
        zone: change.zone.clone(),
        ..api::LinkChange::default()
    };
    *change == only_paces
}

/// Whether something is HOST:PORT, as people write it: an address of version 6 in brackets. Names are not looked up.
pub(super) fn check_address(address: &str) -> Result<(), Problem> {
    let parts = address.rsplit_once(':');
    let host_is_one = |host: &str| {
        let bare = host.strip_prefix('[').map_or(host, |host| host.strip_suffix(']').unwrap_or_default());
        let one = !bare.is_empty() && !bare.contains(|c: char| c.is_whitespace() || c.is_control());
        one && (bare.len() < host.len() || !bare.contains(':'))
    };
    if parts.is_some_and(|(host, port)| host_is_one(host) && port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Ok(());
    }
    Err(usage(format!("{address:?} is no address of a site"))
        .hint("write HOST:PORT, as london.example:7440 or [2001:db8::7]:7440"))
}

#[cfg(test)]
mod tests {
    use protocol::id::SiteId;
    use protocol::link::LinkFeed;

    use super::*;

    fn link(dial: Dial) -> Link {
        let on = LinkFeed {
            feed: FeedId([1; 32]),
            switches: Switches::PULL,
            filter: Filter::default(),
            expires: None,
        };
        Link::new("tokyo".to_owned(), SiteId([2; 32]), "Tokyo".to_owned(), dial, vec![on])
    }

    fn outgoing() -> Link {
        link(Dial::Outgoing { addresses: vec!["a:1".to_owned()] })
    }

    #[test]
    fn settings_are_taken_as_people_write_them() {
        let mut link = outgoing();
        let change = api::LinkChange {
            windows: Some(vec!["mon-fri 22:00-06:00@2mbit".to_owned()]),
            zone: Some("Asia/Tokyo".to_owned()),
            cap_in: Some("1mbit".to_owned()),
            cap_out: Some("none".to_owned()),
            filter: Some("latest=3".to_owned()),
            priority: Some("newest".to_owned()),
            fetch: Some("on-demand".to_owned()),
            live: Some(false),
            ..Default::default()
        };
        apply(&mut link, change, Meant::All).unwrap();
        assert_eq!(link.windows[0].to_string(), "mon,tue,wed,thu,fri 22:00-06:00@2000kbit Asia/Tokyo");
        assert_eq!((link.caps.in_bytes_per_s, link.caps.out_bytes_per_s), (Some(125_000), None));
        assert_eq!((link.priority, link.fetch, link.live), (Priority::NewestFirst, Fetch::OnDemand, false));
        assert_eq!(link.feeds[0].filter.latest, Some(3));
        let moved = api::LinkChange { zone: Some("UTC".to_owned()), ..Default::default() };
        apply(&mut link, moved, Meant::All).unwrap();
        assert_eq!((link.windows[0].zone.as_str(), link.windows[0].cap_bytes_per_s), ("UTC", Some(250_000)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing_that_is_kept() {
        let refused = |link: &Link, change: api::LinkChange| {
            apply(&mut link.clone(), change, Meant::All).unwrap_err();
        };
        let (out, inward) = (outgoing(), link(Dial::Incoming));
        let none = api::LinkChange::default;
        let text = |text: &str| Some(text.to_owned());
        refused(&out, api::LinkChange { zone: text("Mars/Base"), ..none() });
        refused(&out, api::LinkChange { windows: Some(vec!["soon".to_owned()]), ..none() });
        refused(&out, api::LinkChange { windows: Some(vec!["22:00-06:00@8kbit".to_owned()]), ..none() });
        refused(&out, api::LinkChange { cap_in: text("8kbit"), ..none() });
        refused(&out, api::LinkChange { priority: text("best"), ..none() });
        refused(&out, api::LinkChange { fetch: text("never"), ..none() });
        refused(&out, api::LinkChange { filter: text("colour=red"), ..none() });
        refused(&out, api::LinkChange { windows: Some(vec!["22:00-06:00".to_owned(); 33]), ..none() });
        refused(&inward, api::LinkChange { every_ms: Some(1_000), ..none() });
        refused(&out, api::LinkChange { every_ms: Some(999), ..none() });
        refused(&inward, api::LinkChange { addresses: Some(Vec::new()), ..none() });
        for wrong in [
            "london",
            "london:",
            ":7440",
            "london:0",
            "london:99999",
            "a b:1",
            "2001:db8::7:1",
            "[::1",
            "[]:1",
        ] {
            refused(&out, api::LinkChange { addresses: Some(vec![wrong.to_owned()]), ..none() });
        }
        let other = Meant::Feed(FeedId([9; 32]));
        apply(&mut outgoing(), api::LinkChange { mode: text("push"), ..none() }, other).unwrap_err();
    }
}
