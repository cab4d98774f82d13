//! File, environment and flags to a validated configuration. Nothing else reads the environment.

mod keeping;
mod nearest;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use protocol::package::{BadName, check_label};

use nearest::nearest;

pub use keeping::Keeping;

/// The configuration's name in the data folder.
const FILE: &str = "packetboat.toml";

/// Every interface: other sites are known by their keys, strangers are refused in the handshake.
const LISTEN: &str = "0.0.0.0:7440";

/// Loopback only, until the operator decides who may reach the feeds: it is plain HTTP.
const HTTP: &str = "127.0.0.1:7480";

const LOG: &str = "info";

/// A setting that can be given in the file, the environment or a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Name,
    Listen,
    Http,
    Log,
    Reserve,
    Trash,
    Scrub,
    ScrubEvery,
}

impl Key {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 8] = [
        Self::Name,
        Self::Listen,
        Self::Http,
        Self::Log,
        Self::Reserve,
        Self::Trash,
        Self::Scrub,
        Self::ScrubEvery,
    ];

    /// The name in the file and, with two dashes, on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Listen => "listen",
            Self::Http => "http",
            Self::Log => "log",
            Self::Reserve => "reserve",
            Self::Trash => "trash",
            Self::Scrub => "scrub",
            Self::ScrubEvery => "scrub_every",
        }
    }

    /// The environment variable.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Name => "PACKETBOAT_NAME",
            Self::Listen => "PACKETBOAT_LISTEN",
            Self::Http => "PACKETBOAT_HTTP",
            Self::Log => "PACKETBOAT_LOG",
            Self::Reserve => "PACKETBOAT_RESERVE",
            Self::Trash => "PACKETBOAT_TRASH",
            Self::Scrub => "PACKETBOAT_SCRUB",
            Self::ScrubEvery => "PACKETBOAT_SCRUB_EVERY",
        }
    }

    const fn default(self) -> Option<&'static str> {
        match self {
            Self::Name => None,
            Self::Listen => Some(LISTEN),
            Self::Http => Some(HTTP),
            Self::Log => Some(LOG),
            Self::Reserve => Some(keeping::RESERVE),
            Self::Trash => Some(keeping::TRASH),
            Self::Scrub => Some(keeping::SCRUB),
            Self::ScrubEvery => Some(keeping::SCRUB_EVERY),
        }
    }
}

/// Where a setting was taken from, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Default,
    File,
    Environment,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// What was given on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    pub name: Option<String>,
    pub listen: Option<String>,
    pub http: Option<String>,
    pub log: Option<String>,
}

/// A node's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What people call the site; none means the start of its id.
    pub name: Option<String>,
    /// UDP, for other sites.
    pub listen: SocketAddr,
    /// TCP, for package clients.
    pub http: SocketAddr,
    /// Which log lines are written: a level, or `target=level` parts.
    pub log: String,
    /// How the site looks after its bytes.
    pub keeping: Keeping,
}

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum ConfigError {
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not TOML", .path.display())]
    Syntax { path: PathBuf, source: toml::de::Error },
    #[error("{} has an unknown key {key:?}{}", .path.display(), meant(.near))]
    UnknownKey { path: PathBuf, key: String, near: Option<&'static str> },
    #[error("{}: {key} must be a text in quotes", .path.display())]
    NotText { path: PathBuf, key: &'static str },
    #[error("{key} {value:?} ({origin}) is not IP:PORT, such as 127.0.0.1:7480")]
    Address { key: &'static str, value: String, origin: Origin },
    #[error("the site's name ({origin}) is not allowed")]
    Name { origin: Origin, source: BadName },
    #[error(
        "log {value:?} ({origin}) is no level: use error, warn, info, debug or trace, or TARGET=LEVEL with commas between"
    )]
    Log { value: String, origin: Origin },
    #[error("{key} {value:?} ({origin}) is not {wanted}")]
    Keeping { key: &'static str, value: String, origin: Origin, wanted: &'static str },
}

fn meant(near: &Option<&'static str>) -> String {
    near.map_or_else(
        || format!("; known are {}", Key::ALL.map(Key::as_str).join(", ")),
        |near| format!("; did you mean {near:?}?"),
    )
}

/// The configuration file of a data folder.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// The data folder when none is named: where the platform keeps a user's program data.
#[must_use]
pub fn default_data() -> PathBuf {
    let from =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || from("HOME").unwrap_or_default();
    let base = if cfg!(windows) {
        from("LOCALAPPDATA").unwrap_or_default()
    } else if cfg!(target_os = "macos") {
        home().join("Library/Application Support")
    } else {
        from("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share"))
    };
    base.join("packetboat")
}

/// Whether the user asked for output without colours (<https://no-color.org>).
#[must_use]
pub fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

impl Config {
    /// The settings of a data folder: flag over environment over file over default.
    ///
    /// # Errors
    /// The file is unreadable or has unknown keys, or a value makes no sense.
    pub fn load(data: &Path, flags: &Flags) -> Result<Self, ConfigError> {
        Ok(Self::explained(data, flags)?.0)
    }

    /// The settings of a file's text over the defaults, with no environment and no flags. `path` is for messages.
    ///
    /// # Errors
    /// The text has unknown keys, or a value makes no sense.
    pub fn of_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Ok(decide(&entries(text, path)?, &|_| None, &Flags::default())?.0)
    }

    /// The settings and, for each key, its value and where it was taken from.
    ///
    /// # Errors
    /// The file is unreadable or has unknown keys, or a value makes no sense.
    pub fn explained(data: &Path, flags: &Flags) -> Result<(Self, Vec<(Key, String, Origin)>), ConfigError> {
        decide(&read(&path(data))?, &|key| std::env::var(key.variable()).ok(), flags)
    }

    /// Writes the file of a new data folder. One that is there already stays as it is.
    ///
    /// # Errors
    /// The name is not allowed, or the disk refuses.
    pub fn write_new(data: &Path, name: Option<&str>) -> Result<(), ConfigError> {
        if let Some(name) = name {
            check_label("site name", name)
                .map_err(|source| ConfigError::Name { origin: Origin::Flag, source })?;
        }
        let path = path(data);
        let written = |source| ConfigError::Write { path: path.clone(), source };
        match fs::File::create_new(&path) {
            Ok(mut file) => {
                file.write_all(fresh(name).as_bytes()).map_err(written)?;
                file.sync_all().map_err(written)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(written(error)),
        }
    }
}

/// The text of a new file.
fn fresh(name: Option<&str>) -> String {
    let name = name.map_or_else(
        || "# name = \"New York\"".to_owned(),
        |name| format!("name = {}", toml::Value::String(name.to_owned())),
    );
    format!(
        "# packetboat: settings of this site. `packetboat config check` tells what holds and why.\n\
         # Flags of `packetboat serve` and the variables PACKETBOAT_NAME, _LISTEN, _HTTP, _LOG come first.\n\n\
         # What people call this site.\n{name}\n\n\
         # UDP address for other sites. Only sites that were paired with this one are let in.\n# listen = \"{LISTEN}\"\n\n\
         # TCP address for package clients. Plain HTTP: put a TLS proxy in front before you open it to a network.\n# http = \"{HTTP}\"\n\n\
         # error, warn, info, debug or trace.\n# log = \"{LOG}\"\n\n\
         # How much of the disk stays free: below it nothing is taken in, and reading and deleting go on.\n\
         # reserve = \"{RESERVE}\"\n\n\
         # How long the bytes of deleted versions can be had back: `packetboat trash`.\n# trash = \"{TRASH}\"\n\n\
         # How fast everything that is kept is read again and checked, or \"off\", and how long after the last time.\n\
         # scrub = \"{SCRUB}\"\n# scrub_every = \"{SCRUB_EVERY}\"\n",
        RESERVE = keeping::RESERVE,
        TRASH = keeping::TRASH,
        SCRUB = keeping::SCRUB,
        SCRUB_EVERY = keeping::SCRUB_EVERY,
    )
}

/// The file's entries; none where there is no file.
fn read(path: &Path) -> Result<Vec<(Key, String)>, ConfigError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    entries(&text, path)
}

/// The settings that a file's text holds. `path` is for messages.
fn entries(text: &str, path: &Path) -> Result<Vec<(Key, String)>, ConfigError> {
    let table: toml::Table =
        toml::from_str(text).map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })?;
    let mut entries = Vec::new();
    for (name, value) in table {
        let Some(key) = Key::ALL.into_iter().find(|key| key.as_str() == name) else {
            let near = nearest(&name, Key::ALL.map(Key::as_str));
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key: name, near });
        };
        let toml::Value::String(value) = value else {
            return Err(ConfigError::NotText { path: path.to_owned(), key: key.as_str() });
        };
        entries.push((key, value));
    }
    Ok(entries)
}

fn decide(
    file: &[(Key, String)],
    environment: &dyn Fn(Key) -> Option<String>,
    flags: &Flags,
) -> Result<(Config, Vec<(Key, String, Origin)>), ConfigError> {
    let pick = |key: Key| {
        let flag = match key {
            Key::Name => &flags.name,
            Key::Listen => &flags.listen,
            Key::Http => &flags.http,
            Key::Log => &flags.log,
            Key::Reserve | Key::Trash | Key::Scrub | Key::ScrubEvery => &None,
        };
        let variable = environment(key).filter(|value| !value.is_empty());
        let entry = file.iter().find(|(entry, _)| *entry == key).map(|(_, value)| value.clone());
        let default = key.default().map(ToOwned::to_owned);
        let candidates = [
            (flag.clone(), Origin::Flag),
            (variable, Origin::Environment),
            (entry, Origin::File),
            (default, Origin::Default),
        ];
        candidates.into_iter().find_map(|(value, origin)| Some((value?, origin)))
    };
    let address = |key: Key| {
        let (value, origin) = pick(key).unwrap_or((String::new(), Origin::Default));
        value.parse().map_err(|_not_one| ConfigError::Address { key: key.as_str(), value, origin })
    };
    let name = pick(Key::Name);
    if let Some((name, origin)) = &name {
        check_label("site name", name).map_err(|source| ConfigError::Name { origin: *origin, source })?;
    }
    let (log, origin) = pick(Key::Log).unwrap_or_else(|| (LOG.to_owned(), Origin::Default));
    if crate::logs::parse(&log).is_none() {
        return Err(ConfigError::Log { value: log, origin });
    }
    let keeping = |key: Key, wanted| {
        let (value, origin) = pick(key).unwrap_or((String::new(), Origin::Default));
        let wrong = ConfigError::Keeping { key: key.as_str(), value: value.clone(), origin, wanted };
        (value, wrong)
    };
    let (reserve, wrong) = keeping(Key::Reserve, "a size such as 1GB");
    let reserve_bytes = keeping::size(&reserve).ok_or(wrong)?;
    let (trash, wrong) = keeping(Key::Trash, "a time such as 14d, or 0s");
    let trash = keeping::age(&trash).ok_or(wrong)?;
    let (scrub, wrong) = keeping(Key::Scrub, "\"off\" or a rate such as 20MB/s");
    let scrub_bytes_per_s = keeping::rate(&scrub).ok_or(wrong)?;
    let (every, wrong) = keeping(Key::ScrubEvery, "a time such as 14d");
    let scrub_every = keeping::age(&every).ok_or(wrong)?;
    let config = Config {
        keeping: Keeping { reserve_bytes, trash, scrub_bytes_per_s, scrub_every },
        name: name.map(|(name, _)| name),
        listen: address(Key::Listen)?,
        http: address(Key::Http)?,
        log,
    };
    let told = Key::ALL.into_iter().filter_map(|key| pick(key).map(|(value, origin)| (key, value, origin)));
    Ok((config, told.collect()))
}
