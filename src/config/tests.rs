//! What a configuration accepts, which source wins, and what is said of mistakes.

use std::time::Duration;

use super::*;

fn none(_key: Key) -> Option<String> {
    None
}

fn mistake(text: &str) -> ConfigError {
    let folder = tempfile::tempdir().unwrap();
    fs::write(path(folder.path()), text).unwrap();
    let read = read(&path(folder.path()));
    read.and_then(|entries| decide(&entries, &none, &Flags::default())).unwrap_err()
}

#[test]
fn without_a_file_only_loopback_serves_http() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = decide(&read(&path(folder.path())).unwrap(), &none, &Flags::default()).unwrap();
    assert!(config.http.ip().is_loopback());
    assert_eq!(config.http.port(), 7480);
    assert_eq!(config.listen.port(), 7440);
    assert_eq!(config.name, None);
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file =
        [(Key::Log, "error".to_owned()), (Key::Name, "file".to_owned()), (Key::Http, "[::1]:1".to_owned())];
    let environment = |key: Key| match key {
        Key::Log => Some("warn".to_owned()),
        Key::Name => Some("environment".to_owned()),
        Key::Http | Key::Listen | Key::Reserve | Key::Trash | Key::Scrub | Key::ScrubEvery => None,
    };
    let flags = Flags { log: Some("debug".to_owned()), ..Flags::default() };
    let (config, told) = decide(&file, &environment, &flags).unwrap();
    assert_eq!(config.log, "debug");
    assert_eq!(config.name.as_deref(), Some("environment"));
    assert_eq!(config.http.to_string(), "[::1]:1");
    let origins: Vec<Origin> = told.into_iter().map(|(_, _, origin)| origin).collect();
    assert_eq!(
        origins,
        [
            Origin::Environment,
            Origin::Default,
            Origin::File,
            Origin::Flag,
            Origin::Default,
            Origin::Default,
            Origin::Default,
            Origin::Default
        ]
    );
}

#[test]
fn a_mistyped_key_is_an_error_that_names_the_right_one() {
    let error = mistake("lisen = \"0.0.0.0:1\"").to_string();
    assert!(error.contains("\"lisen\"") && error.contains("did you mean \"listen\"?"), "{error}");
    let error = mistake("bandwidth = 3").to_string();
    assert!(
        error.contains("known are name, listen, http, log, reserve, trash, scrub, scrub_every"),
        "{error}"
    );
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    assert!(matches!(mistake("http = 7480"), ConfigError::NotText { key: "http", .. }));
    assert!(matches!(mistake("http = \"localhost\""), ConfigError::Address { key: "http", .. }));
    assert!(matches!(mistake("name = \"a/b\""), ConfigError::Name { .. }));
    assert!(matches!(mistake("log = \"web=loud\""), ConfigError::Log { .. }));
    assert!(matches!(mistake("log = \" \""), ConfigError::Log { .. }));
    assert!(matches!(mistake("scrub = \"fast\""), ConfigError::Keeping { key: "scrub", .. }));
    assert!(matches!(mistake("scrub_every = \"often\""), ConfigError::Keeping { key: "scrub_every", .. }));
    assert!(matches!(mistake("http = "), ConfigError::Syntax { .. }));
}

#[test]
fn a_new_file_is_understood_and_an_old_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    Config::write_new(folder.path(), Some("New \"York\"")).unwrap();
    Config::write_new(folder.path(), Some("Tokyo")).unwrap();
    let (config, _) = decide(&read(&path(folder.path())).unwrap(), &none, &Flags::default()).unwrap();
    assert_eq!(config.name.as_deref(), Some("New \"York\""));
}

#[test]
fn a_scrub_runs_unless_it_is_turned_off() {
    let of = |text: &str| Config::of_text(text, Path::new("packetboat.toml")).unwrap().keeping;
    let usual = Keeping {
        reserve_bytes: 1_000_000_000,
        trash: Duration::from_hours(14 * 24),
        scrub_bytes_per_s: Some(20_000_000),
        scrub_every: Duration::from_hours(14 * 24),
    };
    assert_eq!(of(""), usual);
    assert_eq!(of(""), Keeping::default());
    assert_eq!(of("scrub = \"off\"").scrub_bytes_per_s, None);
    assert_eq!(
        (of("reserve = \"64MB\"").reserve_bytes, of("trash = \"0s\"").trash),
        (64_000_000, Duration::ZERO)
    );
    assert_eq!(of("scrub_every = \"1h\"").scrub_every, Duration::from_hours(1));
}
