//! Every Rust file of the project, read once, with the questions the rules ask of it.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const CRATES: [&str; 3] = ["protocol/src", "src", "simulations/src"];

#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// From the top of the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.split('/').any(|part| part == "tests")
    }

    pub(crate) fn is_under(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.path.starts_with(prefix))
    }

    pub(crate) fn stem(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The lines with their numbers, from one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines that are built into the program, without their comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.marked().filter(|(_, _, tested)| !tested).map(|(at, line, _)| (at, bare(line)))
    }

    /// The lines that only tests see.
    pub(crate) fn tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.marked().filter(|(_, _, tested)| *tested).map(|(at, line, _)| (at, line))
    }

    /// Each line, and whether only tests see it: all of a test file, elsewhere the items under `#[cfg(test)]`.
    /// An item ends with `;`, or with the brace that stands as far in as its attribute.
    fn marked(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let (all, mut item) = (self.is_test(), Item::Built);
        self.lines().map(move |(at, line)| {
            let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
            let here = if text == "#[cfg(test)]" { Item::Opening(indent) } else { item };
            item = match here {
                Item::Opening(_) if text.ends_with([';', '}']) => Item::Built,
                Item::Opening(from) if text.ends_with('{') => Item::Body(from),
                Item::Body(from) if indent == from && text.starts_with('}') => Item::Built,
                Item::Built | Item::Opening(_) | Item::Body(_) => here,
            };
            (at, line, all || !matches!(here, Item::Built))
        })
    }
}

/// Where a line stands: outside of all tests, between an item's attribute and its body, or in its body.
#[derive(Debug, Clone, Copy)]
enum Item {
    Built,
    Opening(usize),
    Body(usize),
}

/// A line without its comment.
pub(crate) fn bare(line: &str) -> &str {
    let mut from = 0;
    while let Some(found) = line.get(from..).and_then(|rest| rest.find("//")) {
        let at = from + found;
        let before = line.get(..at).unwrap_or_default();
        if !before.ends_with(':') {
            return before;
        }
        from = at + 2;
    }
    line
}

/// Whether the text has the word with no letter, digit or underscore beside it.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|tail| tail.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

pub(crate) fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names in a folder, sorted.
pub(crate) fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(top().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut all: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// Every Rust file of the three crates and their tests, sorted by path.
pub(crate) fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    for folder in ["src", "protocol", "simulations", "tests"] {
        gather(&top(), folder, &mut all);
    }
    all.sort_by(|one: &Source, two| one.path.cmp(&two.path));
    assert!(all.len() > 50, "the tree was not found");
    all
}

fn gather(top: &Path, folder: &str, all: &mut Vec<Source>) {
    for name in names(folder) {
        let path = format!("{folder}/{name}");
        if top.join(&path).is_dir() {
            if name != "target" {
                gather(top, &path, all);
            }
        } else if name.ends_with(".rs") {
            all.push(Source { text: read(&path), path });
        }
    }
}

#[test]
fn a_comment_is_not_code_and_an_address_is_not_a_comment() {
    assert_eq!(bare("let a = 1; // sled"), "let a = 1; ");
    assert_eq!(bare("get(\"http://x\") // y"), "get(\"http://x\") ");
    assert!(has_word("use sled::Db", "sled") && !has_word("sledge", "sled") && !has_word("a_sled", "sled"));
}

#[test]
fn only_the_items_under_their_attribute_are_tests() {
    let text = "mod a;\n#[cfg(test)]\nmod tests;\nlet b;\n#[cfg(test)]\nmod c {\n    {\n    }\n}\nlet d;\n    #[cfg(test)]\n    fn e(\n    ) {\n    }\n    let f;\n";
    let source = Source { path: "src/a.rs".to_owned(), text: text.to_owned() };
    let built: Vec<usize> = source.code().map(|(at, _)| at).collect();
    assert_eq!(built, [1, 4, 10, 15]);
    assert_eq!(source.tests().count() + built.len(), source.lines().count());
    let source = Source { path: "src/a/tests.rs".to_owned(), text: text.to_owned() };
    assert_eq!(source.code().count(), 0);
}
