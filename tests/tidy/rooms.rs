//! The room tables of docs/architecture.md, and the imports of the code held against them.

use std::collections::{BTreeMap, BTreeSet};

use crate::none;
use crate::tree::{CRATES, Source, names, read, sources};

const DOCUMENT: &str = "docs/architecture.md";
const HEADINGS: [&str; 3] = ["## Rooms of protocol", "## Rooms of the node", "## Rooms of the simulations"];

/// Room by room: the line of its row, and what it may import.
type Rooms = BTreeMap<String, (usize, BTreeSet<String>)>;

/// Reads the table under a heading. A cell's names stand in backquotes; none means none.
fn table(document: &str, heading: &str) -> Result<Rooms, String> {
    let mut rooms = Rooms::new();
    let lines = document.lines().enumerate().skip_while(|(_, line)| *line != heading).skip(1);
    for (index, line) in lines.take_while(|(_, line)| !line.starts_with("## ")) {
        let at = index + 1;
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", room, lives, imports, ""] = cells.as_slice() else {
            if line.starts_with('|') {
                return Err(format!(
                    "{DOCUMENT}:{at}: a row has three cells: room, what lives here, may import"
                ));
            }
            continue;
        };
        if *room == "room" || room.starts_with("--") {
            continue;
        }
        let Some(name) = quoted(room).into_iter().next() else {
            return Err(format!("{DOCUMENT}:{at}: a room's name stands in backquotes"));
        };
        if lives.is_empty() {
            return Err(format!("{DOCUMENT}:{at}: say what lives in {name}"));
        }
        let allowed = quoted(imports);
        if allowed.is_empty() && *imports != "–" {
            return Err(format!(
                "{DOCUMENT}:{at}: name each room {name} may import in backquotes, or write –"
            ));
        }
        if rooms.insert(name.clone(), (at, allowed)).is_some() {
            return Err(format!("{DOCUMENT}:{at}: {name} has a second row"));
        }
    }
    if rooms.is_empty() { Err(format!("{DOCUMENT}: no table under \"{heading}\"")) } else { Ok(rooms) }
}

fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The room of a file of the crate in `folder`: its first name below it.
fn room<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
    rest.split('/').next().map(|name| name.trim_end_matches(".rs"))
}

/// The rooms a line imports: what follows `crate::`, or the crate's own name, alone or in braces.
fn imports(line: &str, own: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", own] {
        for (at, _) in line.match_indices(start) {
            let before = line.get(..at).and_then(|head| head.chars().next_back());
            if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == '"') {
                continue;
            }
            let rest = line.get(at + start.len()..).unwrap_or_default();
            if let Some(list) = rest.strip_prefix('{') {
                found.extend(braces(list));
            } else {
                found.extend(first_name(rest));
            }
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
    (!name.is_empty()).then_some(name)
}

/// Faults of one file, whose code is joined so that an import over several lines is one.
fn held_against(source: &Source, folder: &str, own: &str, rooms: &Rooms) -> Vec<String> {
    let Some(room) = room(&source.path, folder) else { return Vec::new() };
    if source.is_test() || room == "lib" {
        return Vec::new();
    }
    let allowed = rooms.get(room).map(|(_, allowed)| allowed.clone()).unwrap_or_default();
    let (mut faults, mut open) = (Vec::new(), None::<(usize, String)>);
    for (at, line) in source.code() {
        let (at, line) = match open.take() {
            Some((began, text)) => (began, text + line),
            None => (at, line.to_owned()),
        };
        let is_use = line.trim_start().starts_with("use ") || line.trim_start().starts_with("pub use ");
        if is_use && !line.contains(';') {
            open = Some((at, line));
            continue;
        }
        for other in imports(&line, own) {
            if other != room && !allowed.contains(&other) {
                let path = &source.path;
                faults.push(format!(
                    "{path}:{at}: {room} imports {other}, which its row in {DOCUMENT} does not allow"
                ));
            }
        }
    }
    faults
}

fn own_name(folder: &str) -> &'static str {
    match folder {
        "protocol/src" => "protocol::",
        "src" => "packetboat::",
        _ => "simulations::",
    }
}

#[test]
fn every_import_is_one_its_room_may_make() {
    let (document, sources, mut faults) = (read(DOCUMENT), sources(), Vec::new());
    for (folder, heading) in CRATES.into_iter().zip(HEADINGS) {
        let rooms = table(&document, heading).unwrap_or_else(|fault| panic!("{fault}"));
        for source in &sources {
            if room(&source.path, folder).is_some() {
                faults.extend(held_against(source, folder, own_name(folder), &rooms));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_tables_name_the_rooms_there_are() {
    let (document, mut faults) = (read(DOCUMENT), Vec::new());
    for (folder, heading) in CRATES.into_iter().zip(HEADINGS) {
        let rooms = table(&document, heading).unwrap_or_else(|fault| panic!("{fault}"));
        let mut there: BTreeSet<String> =
            names(folder).iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
        there.remove("lib");
        for name in there.iter().filter(|name| !rooms.contains_key(*name)) {
            faults.push(format!("{folder}/{name}: has no row under \"{heading}\" in {DOCUMENT}"));
        }
        for (name, (at, allowed)) in &rooms {
            for other in allowed.iter().chain([name]).filter(|other| !there.contains(*other)) {
                faults.push(format!("{DOCUMENT}:{at}: {folder} has no room {other}"));
            }
        }
    }
    none(&faults);
}

#[test]
fn a_table_is_read_row_by_row() {
    let text = "## A\n\n| room | what lives here | may import |\n|---|---|---|\n| `id` | names | – |\n| `op` | ops | `id`, `log` |\n\n## B\n| `x` | y | – |\n";
    let rooms = table(text, "## A").unwrap();
    assert_eq!(rooms.keys().collect::<Vec<_>>(), ["id", "op"]);
    assert_eq!(rooms["op"], (6, ["id", "log"].map(str::to_owned).into()));
    assert!(rooms["id"].1.is_empty());
}

#[test]
fn a_table_that_cannot_be_read_is_a_fault_with_its_line() {
    for (row, said) in [
        ("| `id` | names |", "2: a row has three"),
        ("| id | names | – |", "2: a room's name"),
        ("| `id` |  | – |", "2: say what lives"),
        ("| `id` | names | log |", "2: name each room"),
        ("| `id` | a | – |\n| `id` | b | – |", "3: id has a second row"),
        ("prose", "no table under"),
    ] {
        let fault = table(&format!("## A\n{row}\n"), "## A").unwrap_err();
        assert!(fault.contains(said), "{row}: {fault}");
    }
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let rooms = Rooms::from([("op".to_owned(), (1, BTreeSet::from(["id".to_owned()])))]);
    let faults = |text: &str| {
        let source = Source { path: "src/op/kind.rs".to_owned(), text: text.to_owned() };
        held_against(&source, "src", "packetboat::", &rooms)
    };
    for allowed in [
        "use crate::id::A;",
        "crate::op::x()",
        "// crate::log::B",
        "use std::{fmt, io};",
        "#[cfg(test)]\nuse crate::log::X;",
    ] {
        assert_eq!(faults(allowed), Vec::<String>::new(), "{allowed}");
    }
    for refused in [
        "use crate::log::B;",
        "let x = crate::log::y();",
        "use crate::{id, log::{B, C}};",
        "use packetboat::log;",
        "pub(crate) use crate::log::B;",
    ] {
        let found = faults(refused);
        assert!(
            found.len() == 1 && found[0].starts_with("src/op/kind.rs:1: op imports log"),
            "{refused}: {found:?}"
        );
    }
    let spread = faults("\nuse crate::{\n    id::A,\n    log::B,\n};\n");
    assert!(spread.len() == 1 && spread[0].contains("kind.rs:2: op imports log"), "{spread:?}");
}
