//! What the documents promise: rules that tests cite, the hash of the wire's definition, commands that run.

use std::collections::BTreeMap;

use crate::none;
use crate::tree::{Source, has_word, read, sources};

const SAFETY: &str = "docs/safety.md";
const PROTOCOL: &str = "docs/protocol.md";
const FAULTS: &str = "protocol/src/fault.rs";
const DEFINITION: [&str; 6] = [
    "protocol/src/frame.rs",
    "protocol/src/op.rs",
    "protocol/src/log.rs",
    "protocol/src/log/mmr.rs",
    "protocol/src/signature.rs",
    "protocol/src/succession.rs",
];
/// Variants that no test can bring about, and why. One that a test does name is a fault too.
const UNSHOWN: [(&str, &str); 3] = [
    (
        "Misbehaved::LogForked",
        "a forked log is noted and its relay not blamed; the name is kept for its number",
    ),
    ("Reason::Busy", "the answer to a joiner when this site's own disk fails in that moment"),
    ("Reason::Stopping", "nothing says it yet; taking it out would renumber what is on the wire"),
];
const DEMO: &str = "cargo run --release --locked -- demo";
const TESTS: &str = "cargo test --locked";

/// The rules `[P-n]` in a text, each with its first line.
fn rules(text: &str) -> BTreeMap<u32, usize> {
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("[P-").skip(1) {
            if let Some(number) = rest.split(']').next().and_then(|number| number.parse().ok()) {
                found.entry(number).or_insert(index + 1);
            }
        }
    }
    found
}

/// The variants of a public enum, each with its line.
fn variants(text: &str, name: &str) -> Vec<(String, usize)> {
    let opening = format!("pub enum {name} {{");
    let body = text.lines().enumerate().skip_while(|(_, line)| *line != opening).skip(1);
    let body = body.take_while(|(_, line)| *line != "}");
    let variant = |line: &str| {
        let name = line.strip_prefix("    ")?.strip_suffix(',')?;
        name.chars().all(|letter| letter.is_ascii_alphanumeric()).then(|| name.to_owned())
    };
    body.filter_map(|(index, line)| Some((variant(line)?, index + 1))).collect()
}

#[test]
fn every_rule_of_the_protocol_is_cited_and_every_citation_is_a_rule() {
    let (stated, sources, mut faults) = (rules(&read(PROTOCOL)), sources(), Vec::new());
    let sources: Vec<&Source> =
        sources.iter().filter(|source| !source.path.starts_with("tests/tidy/")).collect();
    let cited: Vec<(&Source, BTreeMap<u32, usize>)> =
        sources.into_iter().map(|source| (source, rules(&source.text))).collect();
    for (rule, at) in &stated {
        if !cited.iter().any(|(_, found)| found.contains_key(rule)) {
            faults
                .push(format!("{PROTOCOL}:{at}: no Rust file cites [P-{rule}]: name the test that shows it"));
        }
    }
    for (source, found) in &cited {
        for (rule, at) in found.iter().filter(|(rule, _)| !stated.contains_key(rule)) {
            faults.push(format!("{}:{at}: cites [P-{rule}], which {PROTOCOL} does not have", source.path));
        }
    }
    none(&faults);
}

#[test]
fn every_way_to_misbehave_and_every_reason_is_shown_by_a_test() {
    let (text, sources, mut faults) = (read(FAULTS), sources(), Vec::new());
    for name in ["Misbehaved", "Reason"] {
        let all = variants(&text, name);
        assert!(all.len() > 10, "{FAULTS}: the variants of {name} were not found");
        for (variant, at) in all {
            let written = format!("{name}::{variant}");
            let shown = sources.iter().filter(|source| !source.path.starts_with("tests/tidy/"));
            let shown = shown.flat_map(Source::tests).any(|(_, line)| has_word(line, &written));
            let excused = UNSHOWN.iter().find(|(name, _)| *name == written);
            match (shown, excused) {
                (false, None) => faults.push(format!("{FAULTS}:{at}: no test names {written}")),
                (true, Some((_, reason))) => {
                    faults
                        .push(format!("{FAULTS}:{at}: a test names {written}, which was excused: {reason}"));
                }
                (true, None) | (false, Some(_)) => {}
            }
        }
    }
    none(&faults);
}

#[test]
fn the_written_protocol_is_of_this_wire_definition() {
    let definition: String = DEFINITION.into_iter().map(read).collect();
    let hash: String = blake3::hash(definition.as_bytes()).to_hex().chars().take(16).collect();
    let last = format!("Wire definition: {hash}");
    assert_eq!(
        read(PROTOCOL).lines().last(),
        Some(last.as_str()),
        "{}: the wire's files changed. Read {PROTOCOL}, correct what is no longer so, then write this last line",
        DEFINITION.join(", ")
    );
}

#[test]
fn the_commands_people_are_told_are_the_ones_that_are_run() {
    let (readme, run, mut faults) = (read("README.md"), read(".ci/run"), Vec::new());
    for command in [DEMO, TESTS] {
        if !readme.lines().any(|line| line == command) {
            faults.push(format!("README.md: has no line `{command}`"));
        }
    }
    for command in [format!("{DEMO} --exit"), TESTS.to_owned()] {
        if !run.lines().any(|line| line.starts_with("step ") && line.ends_with(&command)) {
            faults.push(format!(".ci/run: has no step that runs `{command}`"));
        }
    }
    none(&faults);
}

#[test]
fn rules_and_variants_are_found_with_their_lines() {
    assert_eq!(rules("a\n- **[P-3]** x [P-40]\n[P-x] [P-3]"), BTreeMap::from([(3, 2), (40, 2)]));
    let text = "pub enum A {\n    #[error(\"x,\")]\n    /// y,\n    One,\n    Two,\n}\npub enum B {\n    Three,\n}\n";
    assert_eq!(variants(text, "A"), [("One".to_owned(), 4), ("Two".to_owned(), 5)]);
}

/// Words in code style that can only be the name of a test: long, in snake case.
fn test_names(text: &str) -> Vec<(String, usize)> {
    let name = |word: &&str| {
        word.matches('_').count() > 3
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let of_line = |(at, line): (usize, &str)| -> Vec<(String, usize)> {
        line.split('`').filter(name).map(|word| (word.to_owned(), at + 1)).collect()
    };
    text.lines().enumerate().flat_map(of_line).collect()
}

#[test]
fn every_test_that_the_pages_name_is_there() {
    let sources = sources();
    let there = |name: &str| sources.iter().any(|source| source.text.contains(&format!("fn {name}(")));
    let mut faults = Vec::new();
    for (page, least) in [("docs/requirements.md", 15), (SAFETY, 60)] {
        let named = test_names(&read(page));
        assert!(named.len() > least, "{page}: the tests it names were not found");
        let gone = named.iter().filter(|(name, _)| !there(name));
        faults.extend(gone.map(|(name, at)| format!("{page}:{at}: there is no test {name}")));
    }
    none(&faults);
}

/// The last column of each table of hazards names the test that watches it.
#[test]
fn every_hazard_is_watched_by_a_test() {
    let text = read(SAFETY);
    let (mut faults, mut rows, mut watched) = (Vec::new(), 0, false);
    for (line, at) in text.lines().zip(1..) {
        let is_row = line.starts_with("| ");
        if line.ends_with("| watched by |") {
            watched = true;
        } else if !is_row && !line.starts_with('|') {
            watched = false;
        } else if watched && is_row {
            rows += 1;
            let last = line.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
            if test_names(last).is_empty() {
                faults.push(format!("{SAFETY}:{at}: this row names no test"));
            }
        }
    }
    assert!(rows > 40, "{SAFETY}: the tables of hazards were not found");
    none(&faults);
}
