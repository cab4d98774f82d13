//! Which file may name which library, and words that may stand nowhere.

use crate::none;
use crate::tree::{Source, bare, has_word, read, sources};

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
        homes: &["src/transport", "src/node/attach.rs", "src/node/dialling.rs", "src/node/pairing.rs"],
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

/// The crates of rules and of virtual time, and all that they may be built on: nothing that reads a clock, a disk or a socket by itself.
const FOUNDATIONS: [(&str, &[&str]); 2] = [
    (
        "protocol/Cargo.toml",
        &[
            "blake3",
            "data-encoding",
            "ed25519-dalek",
            "postcard",
            "serde",
            "thiserror",
            "unicode-normalization",
        ],
    ),
    (
        "simulations/Cargo.toml",
        &[
            "anyhow",
            "blake3",
            "bytes",
            "clap",
            "ed25519-dalek",
            "packetboat",
            "protocol",
            "quinn-proto",
            "rustls",
            "thiserror",
            "x25519-dalek",
        ],
    ),
];

/// Marks of work left undone or a test that cannot be trusted, wherever they stand. Each is split here so that this file is clean.
const MARKS: [(&str, &str); 4] = [
    (concat!("TO", "DO"), "do it, or write it in an issue"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("#[ig", "nore"), "a test that does not run shows nothing"),
    (concat!("#[should_", "panic"), "assert on the error, not on a panic"),
];
/// Where what others send comes in.
const DOORS: [&str; 5] = ["src/gateway", "src/transport", "src/web", "src/webhook", "protocol/src/session"];
const LIMITS: &str = "protocol/src/limits.rs";
const SLEEP: &str = concat!("sle", "ep(");
const SUFFIXES: [&str; 9] =
    ["Manager", "Helper", "Handler", "Service", "Processor", "Util", "Utils", "Info", "Data"];
const SMELLS: [&str; 6] =
    ["no longer", "instead of the old", "now we", "previously", "used to be", "anymore"];

fn library_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for library in LIBRARIES {
        if !source.path.starts_with(library.within) || source.is_under(library.homes) {
            continue;
        }
        let comments = source.path.starts_with("src/store");
        for (at, line) in source.lines() {
            let looked_at = if comments { bare(line) } else { line };
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

/// The names under `[dependencies]`, each with its line.
fn dependencies(text: &str) -> Vec<(String, usize)> {
    let lines = text.lines().enumerate().skip_while(|(_, line)| *line != "[dependencies]").skip(1);
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    lines
        .take_while(|(_, line)| !line.starts_with('['))
        .map(|(index, line)| (name(line), index + 1))
        .filter(|(name, _)| !name.is_empty() && !name.starts_with('#'))
        .collect()
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
    let asleep = source.tests().filter(|(_, line)| bare(line).contains(SLEEP));
    asleep
        .map(|(at, _)| format!("{}:{at}: a test sleeps: wait for an event, with a deadline", source.path))
        .collect()
}

/// The types a file declares whose names end in what any type could be called.
fn type_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in source.lines() {
        let words: Vec<&str> =
            bare(line).split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        for (word, name) in words.iter().zip(words.iter().skip(1)) {
            let vague = SUFFIXES.iter().find(|suffix| name.ends_with(*suffix));
            // A type inside an impl was named by the trait.
            let ours =
                ["struct", "enum", "trait"].contains(word) || *word == "type" && !line.starts_with(' ');
            if let (true, Some(suffix)) = (ours, vague) {
                faults.push(format!(
                    "{}:{at}: {name}: every type is some {suffix}: name what this one is",
                    source.path
                ));
            }
        }
    }
    faults
}

/// Comments that tell of a change instead of what is.
fn smell_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in source.lines() {
        let comment = line.get(bare(line).len()..).unwrap_or_default().to_lowercase();
        for smell in SMELLS.iter().filter(|smell| has_word(&comment, smell)) {
            faults.push(format!(
                "{}:{at}: \"{smell}\": say what is; what was stands in the history",
                source.path
            ));
        }
    }
    faults
}

/// Limits on what others send that stand where only who wrote them finds them.
fn limit_faults(source: &Source) -> Vec<String> {
    if !source.is_under(&DOORS) || source.is_test() {
        return Vec::new();
    }
    let limit = |line: &str| {
        let name = bare(line).trim_start().split("const ").nth(1)?.split(':').next()?;
        name.ends_with("_MAX").then(|| name.to_owned())
    };
    let found = source.code().filter_map(|(at, line)| Some((at, limit(line)?)));
    found
        .map(|(at, name)| {
            format!(
                "{}:{at}: {name}: what a peer or client can push against stands in {LIMITS}, with its reason",
                source.path
            )
        })
        .collect()
}

#[test]
fn every_limit_that_others_can_push_against_stands_in_one_file() {
    none(&sources().iter().flat_map(limit_faults).collect::<Vec<_>>());
    let found = limit_faults(&Source {
        path: "src/web/doors.rs".to_owned(),
        text: "use a::B_MAX;\n    pub(super) const BODY_BYTES_MAX: u64 = 1;".to_owned(),
    });
    assert!(found.len() == 1 && found[0].starts_with("src/web/doors.rs:2: BODY_BYTES_MAX"), "{found:?}");
}

#[test]
fn a_library_is_named_only_where_it_lives() {
    none(&sources().iter().flat_map(library_faults).collect::<Vec<_>>());
}

#[test]
fn the_rules_and_the_simulations_are_built_on_little() {
    let mut faults = Vec::new();
    for (path, allowed) in FOUNDATIONS {
        let all = dependencies(&read(path));
        assert!(!all.is_empty(), "{path}: no dependencies were found");
        for (name, at) in all.iter().filter(|(name, _)| !allowed.contains(&name.as_str())) {
            faults.push(format!("{path}:{at}: {name} is not among what this crate may be built on"));
        }
    }
    none(&faults);
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
fn a_type_is_named_after_what_it_is() {
    none(&sources().iter().flat_map(type_faults).collect::<Vec<_>>());
}

#[test]
fn a_comment_says_what_is_and_not_what_changed() {
    none(&sources().iter().flat_map(smell_faults).collect::<Vec<_>>());
}

#[test]
fn a_breach_is_found_with_its_line() {
    let source = |path: &str, text: String| Source { path: path.to_owned(), text };
    assert_eq!(library_faults(&source("src/store/blobs.rs", "// as sled does\nlet x;".to_owned())).len(), 0);
    assert_eq!(library_faults(&source("src/store/engine.rs", "use sled::Db;".to_owned())).len(), 0);
    let named = library_faults(&source("src/store/blobs.rs", "\nuse sled::Db;".to_owned()));
    assert!(named.len() == 1 && named[0].starts_with("src/store/blobs.rs:2: names sled"), "{named:?}");
    let inside = sleep_faults(&source(
        "src/a.rs",
        format!(
            "#[cfg(test)]\nmod tests;\nfn a() {{ {SLEEP}x) }}\n#[cfg(test)]\nmod more {{\n {SLEEP}y)\n}}"
        ),
    ));
    assert!(inside.len() == 1 && inside[0].starts_with("src/a.rs:6"), "{inside:?}");
    let typed =
        type_faults(&source("src/a.rs", format!("struct Store;\npub(crate) enum Blob{};", SUFFIXES[0])));
    assert!(typed.len() == 1 && typed[0].starts_with("src/a.rs:2: BlobManager"), "{typed:?}");
    let smelly =
        smell_faults(&source("src/a.rs", format!("let a = \"{}\";\nx(); // {} b", SMELLS[0], SMELLS[0])));
    assert!(smelly.len() == 1 && smelly[0].starts_with("src/a.rs:2"), "{smelly:?}");
    let text = "[package]\nname = \"a\"\n\n[dependencies]\nserde.workspace = true\ntokio = \"1\"\n\n[dev-dependencies]\nx = \"1\"\n";
    assert_eq!(dependencies(text), [("serde".to_owned(), 5), ("tokio".to_owned(), 6)]);
    let marked = mark_faults(&source("src/a.rs", format!("a\n// {}: b", MARKS[0].0)));
    assert!(marked.len() == 1 && marked[0].starts_with("src/a.rs:2"), "{marked:?}");
}
