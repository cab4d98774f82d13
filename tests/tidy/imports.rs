//! The imports of a file, however they are written, as the rooms they name.

use crate::tree::Source;

const LIBRARIES: [(&str, &str); 3] =
    [("protocol/src", "protocol::"), ("src", "packetboat::"), ("simulations/src", "simulations::")];

/// Where a file stands: the crate it is in, and how many modules deep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    folder: &'a str,
    depth: usize,
}

impl<'a> Place<'a> {
    pub(crate) fn of(path: &str, folder: &'a str) -> Self {
        let below = path.strip_prefix(folder).unwrap_or_default();
        Self { folder, depth: below.matches('/').count() }
    }

    /// The rooms a statement names: `op` of this crate, `protocol::op` of another.
    pub(crate) fn imports(self, statement: &str) -> Vec<String> {
        let mut found = follow(statement, "crate::");
        for (folder, library) in LIBRARIES {
            let rooms = follow(statement, library);
            if folder == self.folder {
                found.extend(rooms);
            } else {
                found.extend(rooms.into_iter().map(|room| format!("{library}{room}")));
            }
        }
        found.extend(follow(statement, &"super::".repeat(self.depth)));
        found
    }
}

/// The file's code line by line, an import over several lines as one, each with the line it begins at.
pub(crate) fn statements(source: &Source) -> Vec<(usize, String)> {
    let (mut all, mut open) = (Vec::new(), None::<(usize, String)>);
    for (at, line) in source.code() {
        let (at, line) = match open.take() {
            Some((began, text)) => (began, text + line),
            None => (at, line.to_owned()),
        };
        if is_use(&line) && !line.contains(';') {
            open = Some((at, line));
        } else {
            all.push((at, line));
        }
    }
    all.extend(open);
    all
}

fn is_use(line: &str) -> bool {
    let line = line.trim_start();
    let rest = match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(')').filter(|_| rest.starts_with('(')).map_or(rest, |(_, rest)| rest),
        None => line,
    };
    rest.trim_start().starts_with("use ")
}

/// The first names after each place where a path starts so, alone or in braces.
fn follow(statement: &str, start: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in statement.match_indices(start) {
        let before = statement.get(..at).and_then(|head| head.chars().next_back());
        if before.is_some_and(|letter| letter.is_alphanumeric() || "_\":".contains(letter)) {
            continue;
        }
        let rest = statement.get(at + start.len()..).unwrap_or_default();
        if let Some(list) = rest.strip_prefix('{') {
            found.extend(braces(list));
        } else {
            found.extend(first_name(rest));
        }
    }
    found
}

/// The first name of each item of a list in braces, which may hold lists.
fn braces(list: &str) -> Vec<String> {
    let (mut depth, mut item, mut found) = (0, String::new(), Vec::new());
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.extend(first_name(&std::mem::take(&mut item))),
            _ if depth == 0 => item.push(letter),
            _ => {}
        }
    }
    found.extend(first_name(&item));
    found
}

/// A room is a module: lower case. What the crate's root re-exports under another name is no room.
fn first_name(text: &str) -> Option<String> {
    let end = text.trim_start();
    let name: String =
        end.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
    (!name.is_empty() && !["super", "self", "crate"].contains(&name.as_str())).then_some(name)
}

#[test]
fn rooms_are_named_by_where_the_path_leads() {
    let deep = Place::of("src/op/kind/body.rs", "src");
    assert_eq!(deep.imports("use super::super::super::log::A;"), ["log"]);
    assert_eq!(deep.imports("use super::super::kind::A;"), Vec::<String>::new());
    assert_eq!(deep.imports("use protocol::{id, op::{self, B}};"), ["protocol::id", "protocol::op"]);
    assert_eq!(deep.imports("x(\"crate::log\", mycrate::log)"), Vec::<String>::new());
    assert_eq!(Place::of("protocol/src/op.rs", "protocol/src").imports("use protocol::log;"), ["log"]);
    assert_eq!(Place::of("src/op.rs", "src").imports("use super::{id, log::A};"), ["id", "log"]);
}

#[test]
fn an_import_over_several_lines_is_one_statement() {
    let text = "pub(super) use crate::{\n    a,\n    b,\n};\nlet c;\n";
    let source = Source { path: "src/x.rs".to_owned(), text: text.to_owned() };
    let found = statements(&source);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], (1, "pub(super) use crate::{    a,    b,};".to_owned()));
    assert_eq!(found[1].0, 5);
}
