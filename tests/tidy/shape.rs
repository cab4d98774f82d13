//! File names, sizes, charters and places.

use crate::none;
use crate::tree::{has_word, names, read, sources};

const LINES_MAX: usize = 600;
const STEMS: [&str; 12] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "manager",
    "common",
    "misc",
    "types",
    "mod",
    "handler",
    "service",
    "processor",
];
const TOP: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "docs",
    "protocol",
    "simulations",
    "src",
    "tests",
];
/// What building leaves.
const TOP_WHEN_THERE: &str = "target";
/// Folders whose every file is a module of one test program; cargo says nothing of one that was forgotten.
const PROGRAMS: [&str; 4] = ["tests/e2e", "tests/losses", "tests/tidy", "simulations/tests/sim"];

#[test]
fn a_file_is_small_enough_to_read() {
    let long = |path: &str, lines: usize| {
        format!("{path}:{lines}: {lines} lines, and at most {LINES_MAX} are allowed: split it")
    };
    let files = sources().into_iter().map(|source| (source.path.clone(), source.lines().count()));
    none(
        &files
            .filter(|(_, lines)| *lines > LINES_MAX)
            .map(|(path, lines)| long(&path, lines))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_file_says_first_what_lives_in_it() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(
        &silent
            .map(|source| format!("{}:1: begin with one line `//! …` that says what lives here", source.path))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_file_is_named_after_its_subject() {
    let vague = sources().into_iter().filter(|source| STEMS.contains(&source.stem()));
    none(
        &vague
            .map(|source| {
                format!("{}:1: the name says nothing: name the file after its subject", source.path)
            })
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_file_of_a_test_program_is_in_it() {
    let mut faults = Vec::new();
    for folder in PROGRAMS {
        let main = read(&format!("{folder}/main.rs"));
        for name in names(folder) {
            let stem = name.trim_end_matches(".rs");
            if stem != "main" && !main.lines().any(|line| line.starts_with("mod ") && has_word(line, stem)) {
                faults.push(format!(
                    "{folder}/{name}:1: not declared as `mod {stem};` in {folder}/main.rs, so it never runs"
                ));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_top_holds_what_it_should_and_no_more() {
    let (there, mut faults) = (names("."), Vec::new());
    for name in &there {
        let known = TOP.contains(&name.as_str()) || name == TOP_WHEN_THERE;
        if !known && !name.starts_with('.') {
            faults.push(format!("{name}: does not belong at the top of the project"));
        }
    }
    for name in TOP.iter().filter(|name| !there.iter().any(|one| one == **name)) {
        faults.push(format!("{name}: is missing at the top of the project"));
    }
    none(&faults);
}
