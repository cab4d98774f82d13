//! Events' words, what a selection takes, and what the memory of them forgets.

use std::sync::Arc;

use super::*;

fn up(number: u64) -> Recorded {
    let event = Event::LinkUp { link: "la".to_owned(), peer: "aa".to_owned(), peer_name: "LA".to_owned() };
    Recorded { number, at_ms: 1, severity: event.severity(), event }
}

fn failed(repeated: bool, outcome: &str) -> Event {
    Event::RunFailed {
        link: "ny".to_owned(),
        run: "1".to_owned(),
        feeds: vec!["tools".to_owned()],
        outcome: outcome.to_owned(),
        reason: Some("cut".to_owned()),
        repeated,
    }
}

#[test]
fn the_word_of_a_kind_is_the_one_programs_read_in_json() {
    let events = [
        failed(false, "fault"),
        up(1).event,
        Event::HoldApproved { hold: "h".to_owned(), feed: None },
        Event::DiskLow { free_bytes: 1, floor_bytes: 2 },
        Event::FeedTakenUp { feed: "f".to_owned(), id: "i".to_owned(), link: None },
    ];
    for event in events {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["kind"], event.kind());
        assert!(json["fields"].is_object(), "{json}");
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }
}

#[test]
fn a_failure_warns_once_and_a_broken_rule_is_an_error() {
    assert_eq!(failed(false, "interrupted").severity(), Severity::Warning);
    assert_eq!(failed(true, "interrupted").severity(), Severity::Info);
    assert_eq!(failed(false, "misbehaved").severity(), Severity::Error);
    assert_eq!(failed(false, "interrupted").sentence(), "a run of link ny ended interrupted: cut");
}

#[test]
fn a_selection_takes_what_has_its_severity_kind_and_link() {
    let event = up(1);
    assert!(Selection::default().takes(&event));
    assert!(!Selection { severity: Some(Severity::Warning), ..Selection::default() }.takes(&event));
    assert!(!Selection { link: Some("ny".to_owned()), ..Selection::default() }.takes(&event));
    assert!(Selection { kinds: vec!["link-up".to_owned()], ..Selection::default() }.takes(&event));
    assert!(!Selection { kinds: vec!["link-down".to_owned()], ..Selection::default() }.takes(&event));
    let of_tools = Selection { feed: Some("tools".to_owned()), ..Selection::default() };
    let run = Recorded { event: failed(false, "fault"), ..up(2) };
    assert!(!of_tools.takes(&event) && of_tools.takes(&run));
    assert!(!Selection { feed: Some("docs".to_owned()), ..Selection::default() }.takes(&run));
    assert!("loud".parse::<Severity>().is_err());
}

#[test]
fn the_memory_is_bounded_and_says_when_it_no_longer_reaches_back() {
    let mut ring = Ring::new(5);
    assert!(ring.after(4).whole && !ring.after(3).whole);
    let count = EVENTS_IN_MEMORY_MAX as u64 + 2;
    for number in 5..5 + count {
        ring.push(Arc::new(up(number)));
    }
    assert_eq!(ring.begins(), 7);
    let all = ring.after(6);
    assert_eq!((all.events.len(), all.whole), (EVENTS_IN_MEMORY_MAX, true));
    assert!(!ring.after(5).whole);
    assert_eq!(ring.after(5 + count - 2).events.len(), 1);
}

#[test]
fn every_kind_can_be_asked_for_by_its_word() {
    let source = include_str!("../events.rs");
    let kinds = source.split("pub const fn kind(").nth(1).unwrap().split("\n    }\n").next().unwrap();
    let words: std::collections::BTreeSet<&str> = kinds.split('"').skip(1).step_by(2).collect();
    assert!(words.len() > 20, "{words:?}");
    assert_eq!(words, KINDS.into_iter().collect());
}
