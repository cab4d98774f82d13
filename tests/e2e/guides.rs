//! The guides are run as they stand: each command at the site that its block is headed by.

use std::collections::BTreeMap;
use std::path::Path;

use crate::lab::{Ended, Site};

/// A block of a page: the word behind the language, its first line in the page, its lines.
struct Block {
    language: String,
    site: String,
    at: usize,
    lines: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (at, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), inside) {
            (Some(head), false) => {
                let mut words = head.split(' ');
                let language = words.next().unwrap_or_default().to_owned();
                let site = words.next().unwrap_or_default().to_owned();
                blocks.push(Block { language, site, at: at + 1, lines: Vec::new() });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => blocks.last_mut().unwrap().lines.push(line.to_owned()),
            (None, false) => {}
        }
    }
    blocks
}

/// Words as a shell takes them apart, as far as double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

struct Guide {
    sites: BTreeMap<String, Site>,
    ticket: String,
    last: Option<Ended>,
    folder: tempfile::TempDir,
}

impl Guide {
    fn line(&mut self, site: &str, line: &str, place: &str) {
        let (command, code) = match line.split_once(" # exit ") {
            Some((command, code)) => (command, code.trim().parse().unwrap()),
            None => (line, 0),
        };
        if command == "kill %1" {
            return self.sites.get_mut(site).unwrap().kill();
        }
        let all = words(command);
        assert_eq!(all.first().map(String::as_str), Some("packetboat"), "{place}: {line}");
        let args: Vec<String> = all.into_iter().skip(1).map(|word| self.meant(&word)).collect();
        match args.first().map(String::as_str) {
            Some("init") => {
                let name: &'static str = Box::leak(args.last().unwrap().clone().into_boxed_str());
                self.sites.insert(site.to_owned(), Site::new(name));
                return;
            }
            // A site that is made is up already, and one that is restored is not.
            Some("serve") => return self.sites.get_mut(site).unwrap().start_if_down(),
            Some("restore") => {
                let data = self.folder.path().join(site);
                self.sites.insert(site.to_owned(), Site::stopped("restored", data));
            }
            _ => {}
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = self.sites[site].offline(&args);
        assert_eq!(ended.code, code, "{place}: {line}: {ended:?}");
        let ticket = ended.stdout.split_whitespace().find(|word| word.starts_with("pb1"));
        if let Some(ticket) = ticket {
            ticket.clone_into(&mut self.ticket);
        }
        self.last = Some(ended);
    }

    /// What stands for the ticket is the last one printed; files are made as they are named.
    fn meant(&self, word: &str) -> String {
        if word == "TICKET" {
            return self.ticket.clone();
        }
        let Some(file) = word.strip_prefix("./") else { return word.to_owned() };
        let path = self.folder.path().join(file);
        if file.contains('.') && !path.exists() {
            std::fs::write(&path, file).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }

    fn shows(&self, text: &str, place: &str) {
        let ended = self.last.as_ref().unwrap();
        assert!(ended.stdout.contains(text), "{place}: {text:?} is not in {ended:?}");
    }
}

fn run(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut guide = Guide {
        sites: BTreeMap::new(),
        ticket: String::new(),
        last: None,
        folder: tempfile::tempdir().unwrap(),
    };
    let mut commands = 0;
    for block in blocks(&text) {
        let place = format!("{page}:{}", block.at);
        for line in block.lines.iter().filter(|line| !line.is_empty()) {
            match block.language.as_str() {
                "sh" => {
                    guide.line(&block.site, line, &place);
                    commands += 1;
                }
                "text" => guide.shows(line, &place),
                other => panic!("{place}: a block of {other:?}"),
            }
        }
    }
    assert!(commands > 5, "{page} has no commands");
}

macro_rules! guides {
    ($($name:ident => $page:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            run($page);
        })*

        #[test]
        fn every_guide_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides");
            let mut pages: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|page| page.unwrap().file_name().to_string_lossy().into_owned())
                .filter(|page| page != "README.md")
                .collect();
            pages.sort();
            let mut run = vec![$($page),*];
            run.sort_unstable();
            assert_eq!(pages, run);
        }
    };
}

guides! {
    the_guide_to_centrally_approved_packages_works => "centrally_approved.md",
    the_guide_to_coequal_development_works => "coequal.md",
    the_guide_to_global_distribution_works => "global_distribution.md",
    the_guide_to_a_hub_works => "hub.md",
    the_guide_to_partial_replication_works => "partial.md",
    the_guide_to_a_standby_works => "standby.md",
    the_guide_to_an_edge_site_works => "edge.md",
    the_guide_to_a_full_disk_works => "full_disk.md",
    the_guide_to_backup_and_restore_works => "restore.md",
}
