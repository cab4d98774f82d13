//! The pages people read: their links and paths lead somewhere, and they stay short enough to be read.

use crate::none;
use crate::tree::{names, read, top};

const ARCHITECTURE: &str = "docs/architecture.md";
const ARCHITECTURE_WORDS_MAX: usize = 2500;
const DECISIONS: &str = "docs/decisions";
/// How a path of this project begins.
const FOLDERS: [&str; 6] = ["src/", "protocol/", "simulations/", "tests/", "docs/", ".ci/"];

/// Every page, from the top of the project.
fn pages() -> Vec<String> {
    let mut all = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for folder in ["docs", DECISIONS] {
        all.extend(
            names(folder).iter().filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")),
        );
    }
    all
}

/// Where the links of a page lead, each with its line; not those that leave the project.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let path = rest.split([')', '#']).next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                found.push((index + 1, path));
            }
        }
    }
    found
}

/// The paths of this project that stand in backquotes, each with its line; not patterns.
fn paths(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for span in line.split('`').skip(1).step_by(2) {
            let plain = !span.contains(|letter: char| letter.is_whitespace() || "*{<…".contains(letter));
            if plain && FOLDERS.iter().any(|folder| span.starts_with(folder)) {
                found.push((index + 1, span));
            }
        }
    }
    found
}

#[test]
fn every_link_and_path_leads_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        let text = read(&page);
        let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, link) in links(&text) {
            if !top().join(folder).join(link).exists() {
                faults.push(format!("{page}:{at}: links to {link}, which is not there"));
            }
        }
        for (at, path) in paths(&text) {
            let room = top().join(format!("{path}.rs"));
            if !top().join(path).exists() && !room.exists() {
                faults.push(format!("{page}:{at}: names {path}, which is not there"));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_architecture_can_be_read_at_one_sitting() {
    let words = read(ARCHITECTURE).split_whitespace().count();
    let long = format!("{ARCHITECTURE}: {words} words, and at most {ARCHITECTURE_WORDS_MAX} are allowed");
    none(if words > ARCHITECTURE_WORDS_MAX { std::slice::from_ref(&long) } else { &[] });
}

#[test]
fn every_decision_has_its_number_and_stands_in_the_list() {
    let list = read(&format!("{DECISIONS}/README.md"));
    let mut faults = Vec::new();
    let files = names(DECISIONS).into_iter().filter(|name| name != "README.md");
    for (index, name) in files.enumerate() {
        if !name.starts_with(&format!("{:04}-", index + 1)) {
            faults.push(format!("{DECISIONS}/{name}: the next number is {:04}", index + 1));
        }
        if !links(&list).iter().any(|(_, link)| *link == name) {
            faults.push(format!("{DECISIONS}/{name}: is not in {DECISIONS}/README.md"));
        }
    }
    none(&faults);
}

#[test]
fn links_and_paths_are_found_with_their_lines() {
    let text = "a [b](c.md#d) [e](https://f)\n`src/g.rs` `h/i` `src/**/j.rs`\n[k](#l)";
    assert_eq!(links(text), [(1, "c.md")]);
    assert_eq!(paths(text), [(2, "src/g.rs")]);
}
