//! The room tables of docs/architecture.md, and the imports of the code held against them.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Place, statements};
use crate::none;
use crate::tree::{CRATES, Source, names, read, sources, top};

const DOCUMENT: &str = "docs/architecture.md";
const HEADINGS: [&str; 3] = ["## Rooms of protocol", "## Rooms of the node", "## Rooms of the simulations"];

/// Room by room: the line of its row, and what it may import.
type Rooms = BTreeMap<String, (usize, BTreeSet<String>)>;

/// Rooms that import one below them, and which. Each is a circle to be cut: the list may only get shorter.
const CIRCLES: [(&str, &str); 2] = [("node", "web"), ("web", "gateway")];

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

/// Faults of one file, whose code is joined so that an import over several lines is one.
fn held_against(source: &Source, folder: &str, rooms: &Rooms) -> Vec<String> {
    let Some(room) = room(&source.path, folder) else { return Vec::new() };
    if source.is_test() || room == "lib" {
        return Vec::new();
    }
    let allowed = rooms.get(room).map(|(_, allowed)| allowed.clone()).unwrap_or_default();
    let may = |other: &str| {
        let whole = other.split_once("::").is_some_and(|(library, _)| allowed.contains(library));
        other == room || whole || allowed.contains(other)
    };
    let place = Place::of(&source.path, folder);
    let mut faults = Vec::new();
    for (at, statement) in statements(source) {
        let mut named = place.imports(&statement);
        // `super::` from a module inside the file reaches no room, whatever the file's depth says.
        named.retain(|other| {
            other.contains("::") || !statement.contains("super::") || rooms.contains_key(other)
        });
        for other in named.into_iter().filter(|other| !may(other)) {
            let path = &source.path;
            faults.push(format!(
                "{path}:{at}: {room} imports {other}, which its row in {DOCUMENT} does not allow"
            ));
        }
    }
    faults
}

#[test]
fn every_import_is_one_its_room_may_make() {
    let (document, sources, mut faults) = (read(DOCUMENT), sources(), Vec::new());
    for (folder, heading) in CRATES.into_iter().zip(HEADINGS) {
        let rooms = table(&document, heading).unwrap_or_else(|fault| panic!("{fault}"));
        for source in &sources {
            if room(&source.path, folder).is_some() {
                faults.extend(held_against(source, folder, &rooms));
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
            for other in allowed.iter().chain([name]) {
                let elsewhere = library_path(other).is_some_and(|path| top().join(path).exists());
                if !elsewhere && !there.contains(other) {
                    faults.push(format!("{DOCUMENT}:{at}: {folder} has no room {other}"));
                }
            }
        }
    }
    none(&faults);
}

/// Where another crate of the project, or a room of it, lies.
fn library_path(name: &str) -> Option<String> {
    let (library, room) = name.split_once("::").unwrap_or((name, "lib"));
    let folder = match library {
        "protocol" => "protocol/src",
        "packetboat" => "src",
        _ => return None,
    };
    Some(format!("{folder}/{room}.rs"))
}

/// Room and import, for each import of a room that does not stand above in the table.
fn downward(rooms: &Rooms) -> Vec<(String, String, usize)> {
    let mut found = Vec::new();
    for (name, (at, allowed)) in rooms {
        for other in allowed {
            if rooms.get(other).is_some_and(|(line, _)| line > at) {
                found.push((name.clone(), other.clone(), *at));
            }
        }
    }
    found
}

#[test]
fn a_room_imports_only_rooms_above_it() {
    let (document, mut faults, mut excused) = (read(DOCUMENT), Vec::new(), BTreeSet::new());
    for heading in HEADINGS {
        let rooms = table(&document, heading).unwrap_or_else(|fault| panic!("{fault}"));
        for (name, other, at) in downward(&rooms) {
            if CIRCLES.contains(&(&name, &other)) {
                excused.insert((name, other));
            } else {
                faults.push(format!("{DOCUMENT}:{at}: {name} stands above {other} and may not import it"));
            }
        }
    }
    for (name, other) in CIRCLES {
        if !excused.contains(&(name.to_owned(), other.to_owned())) {
            faults
                .push(format!("tests/tidy/rooms.rs: {name} imports {other} is excused in vain: take it out"));
        }
    }
    none(&faults);
}

#[test]
fn a_circle_is_found() {
    let text = "## A\n| `id` | names | `op` |\n| `op` | ops | `id`, `protocol::log` |\n";
    let rooms = table(text, "## A").unwrap();
    assert_eq!(downward(&rooms), [("id".to_owned(), "op".to_owned(), 2)]);
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
fn an_import_that_is_not_allowed_is_found_however_it_is_written() {
    let allowed = ["id", "protocol::time"].map(str::to_owned);
    let rooms = Rooms::from([
        ("op".to_owned(), (1, BTreeSet::from(allowed))),
        ("log".to_owned(), (2, BTreeSet::from(["protocol".to_owned()]))),
    ]);
    let faults = |path: &str, text: &str| {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        held_against(&source, "src", &rooms)
    };
    for allowed in [
        "use crate::id::A;",
        "crate::op::x()",
        "// crate::log::B",
        "use std::{fmt, io};",
        "#[cfg(test)]\nuse crate::log::X;",
        "use super::body::X;",
        "use protocol::time::Hlc;",
    ] {
        assert_eq!(faults("src/op/kind.rs", allowed), Vec::<String>::new(), "{allowed}");
    }
    for refused in [
        "use crate::log::B;",
        "let x = crate::log::y();",
        "use crate::{id, log::{B, C}};",
        "use packetboat::log;",
        "pub(crate) use crate::log::B;",
        "use super::super::log::B;",
    ] {
        let found = faults("src/op/kind.rs", refused);
        assert!(
            found.len() == 1 && found[0].starts_with("src/op/kind.rs:1: op imports log"),
            "{refused}: {found:?}"
        );
    }
    let spread = faults("src/op/kind.rs", "\npub(crate) use crate::{\n    id::A,\n    log::B,\n};\n");
    assert!(spread.len() == 1 && spread[0].contains("kind.rs:2: op imports log"), "{spread:?}");
    let early = faults("src/op.rs", "#[cfg(test)]\nmod tests;\nuse super::log::B;\n");
    assert!(early.len() == 1 && early[0].contains("op.rs:3: op imports log"), "{early:?}");
    let other = faults("src/op.rs", "use protocol::log::Head;");
    assert!(other.len() == 1 && other[0].contains("op imports protocol::log"), "{other:?}");
    assert_eq!(faults("src/log.rs", "use protocol::log::Head;"), Vec::<String>::new());
}
