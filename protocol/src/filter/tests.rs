//! What passes a filter, and what two of them leave.

use super::*;

fn named(patterns: &[&str]) -> Filter {
    Filter { names: vec![patterns.iter().map(|one| (*one).to_owned()).collect()], ..Filter::default() }
}

fn version(name: &str) -> Candidate<'_> {
    Candidate { name, size: 10, published: Timestamp(1_000), newer: 0 }
}

#[test]
fn a_star_stands_for_any_run_of_characters() {
    for (pattern, name, passes) in [
        ("hello", "hello", true),
        ("hello", "hello2", false),
        ("acme-*", "acme-pad", true),
        ("acme-*", "acme", false),
        ("*-debug", "acme-debug", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "acb", false),
        ("a*a", "a", false),
        ("*", "", true),
    ] {
        assert_eq!(fits(pattern, name), passes, "{pattern} {name}");
    }
}

/// [P-37]
#[test]
fn both_sides_of_a_link_must_let_a_version_pass() {
    let both = named(&["acme-*", "tools"]).and(&named(&["*-pad", "tools"]));
    assert!(both.admits_name("acme-pad") && both.admits_name("tools") && !both.admits_name("acme-box"));
    let small = Filter { size_max_bytes: Some(9), ..Filter::default() };
    let newest = Filter { latest: Some(2), age_max_ms: Some(500), ..Filter::default() };
    assert!(!small.admits(version("a"), Timestamp(1_000)));
    assert!(newest.admits(version("a"), Timestamp(1_500)) && !newest.admits(version("a"), Timestamp(1_501)));
    assert!(!newest.admits(Candidate { newer: 2, ..version("a") }, Timestamp(1_000)));
    assert_eq!(newest.and(&small).and(&newest).latest, Some(2));
    assert!(Filter::default().is_everything() && Filter::default().admits(version("a"), Timestamp(0)));
}

#[test]
fn an_intersection_that_lets_nothing_pass_is_seen() {
    assert!(named(&["acme-*"]).and(&named(&["beta-*"])).is_empty());
    assert!(named(&["acme-*"]).and(&named(&["beta"])).is_empty());
    assert!(named(&["*-a"]).and(&named(&["*-b"])).is_empty());
    assert!(Filter { latest: Some(0), ..Filter::default() }.is_empty());
    assert!(!named(&["acme-*"]).and(&named(&["acme-p*", "x"])).is_empty());
    assert!(!named(&["acme-*"]).and(&named(&["*-pad"])).is_empty());
    assert!(!Filter::default().is_empty());
}

#[test]
fn a_filter_beyond_its_limits_is_refused() {
    let many = vec!["a"; FILTER_NAMES_MAX + 1];
    assert_eq!(named(&many).check(), Err(FilterError::TooMany { found: FILTER_NAMES_MAX + 1 }));
    assert!(named(&[""]).check().is_err() && named(&["a\n"]).check().is_err());
    assert_eq!(named(&many[1..]).check(), Ok(()));
}
