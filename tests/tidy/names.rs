//! Which file may name which library, and words that may stand nowhere.

use crate::none;
use crate::tree::{Source, has_word, sources};

/// A library: the folder the rule covers, the places in it that may name it, and why no other may.
struct Library {
    name: &'static str,
    within: &'static str,
    homes: &'static [&'static str],
    why: &'static str,
}

const LIBRARIES: [Library; 5] = [
    Library {
        name: "sled",
        within: "src/",
        homes: &["src/store/engine"],
        why: "the index's library can be replaced in one place",
    },
    Library {
        name: "postcard",
        within: "protocol/",
        homes: &[
            "protocol/src/frame",
            "protocol/src/op",
            "protocol/src/log",
            "protocol/src/ticket",
            "protocol/src/reconcile/tests.rs",
        ],
        why: "what has bytes others read is written down in few files",
    },
    Library {
        name: "quinn",
        within: "src/",
        homes: &["src/transport", "src/node/sessions.rs", "src/node/pairing.rs"],
        why: "the rest knows lanes, not QUIC",
    },
    Library {
        name: "axum",
        within: "src/",
        homes: &["src/web", "src/gateway"],
        why: "the node answers in its own words",
    },
    Library { name: "clap", within: "src/", homes: &["src/cli"], why: "flags are the command line's" },
];

/// Marks of work left undone or a test that cannot be trusted, wherever they stand. Each is split here so that this file is clean.
const MARKS: [(&str, &str); 4] = [
    (concat!("TO", "DO"), "do it, or write it in an issue"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("#[ig", "nore"), "a test that does not run shows nothing"),
    (concat!("#[should_", "panic"), "assert on the error, not on a panic"),
];
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep"), concat!("time::", "sleep")];

fn library_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for library in LIBRARIES {
        if !source.path.starts_with(library.within) || source.is_under(library.homes) {
            continue;
        }
        let comments = source.path.starts_with("src/store");
        for (at, line) in source.lines() {
            let looked_at = if comments { crate::tree::bare(line) } else { line };
            if has_word(looked_at, library.name) {
                let (path, name, why) = (&source.path, library.name, library.why);
                faults.push(format!(
                    "{path}:{at}: names {name}, which only {} may: {why}",
                    library.homes.join(", ")
                ));
            }
        }
    }
    faults
}

fn mark_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in source.lines() {
        for (mark, advice) in MARKS {
            if line.contains(mark) {
                faults.push(format!("{}:{at}: {mark}: {advice}", source.path));
            }
        }
    }
    faults
}

fn sleep_faults(source: &Source) -> Vec<String> {
    let began = source.text.len() - source.tests_text().len();
    let first = source.text.get(..began).unwrap_or_default().lines().count();
    let asleep =
        source.lines().skip(first).filter(|(_, line)| SLEEPS.iter().any(|sleep| line.contains(sleep)));
    asleep
        .map(|(at, _)| format!("{}:{at}: a test sleeps: wait for an event, with a deadline", source.path))
        .collect()
}

#[test]
fn a_library_is_named_only_where_it_lives() {
    none(&sources().iter().flat_map(library_faults).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_for_later_and_every_test_runs() {
    none(&sources().iter().flat_map(mark_faults).collect::<Vec<_>>());
}

#[test]
fn no_test_sleeps() {
    none(&sources().iter().flat_map(sleep_faults).collect::<Vec<_>>());
}

#[test]
fn a_breach_is_found_with_its_line() {
    let source = |path: &str, text: String| Source { path: path.to_owned(), text };
    assert_eq!(library_faults(&source("src/store/blobs.rs", "// as sled does\nlet x;".to_owned())).len(), 0);
    assert_eq!(library_faults(&source("src/store/engine.rs", "use sled::Db;".to_owned())).len(), 0);
    let named = library_faults(&source("src/store/blobs.rs", "\nuse sled::Db;".to_owned()));
    assert!(named.len() == 1 && named[0].starts_with("src/store/blobs.rs:2: names sled"), "{named:?}");
    let pause = SLEEPS[0];
    let inside = sleep_faults(&source(
        "src/a.rs",
        format!("fn a() {{ {pause}(x) }}\n#[cfg(test)]\nmod tests {{\n {pause}(y) }}"),
    ));
    assert!(inside.len() == 1 && inside[0].starts_with("src/a.rs:4"), "{inside:?}");
    let marked = mark_faults(&source("src/a.rs", format!("a\n// {}: b", MARKS[0].0)));
    assert!(marked.len() == 1 && marked[0].starts_with("src/a.rs:2"), "{marked:?}");
}
