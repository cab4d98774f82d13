//! A package's coordinate (kind, name, version), the names allowed in it, and when two are the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::limits::{FILE_NAME_BYTES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX, VERSION_BYTES_MAX};

/// What kind of packages a feed holds. The kind decides how names are normalised and which clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FeedKind {
    Raw,
    Oci,
    Npm,
    Pypi,
    Cargo,
    Nuget,
    Maven,
    Apt,
}

impl FeedKind {
    /// All kinds, in the order of their encoding.
    pub const ALL: [Self; 8] =
        [Self::Raw, Self::Oci, Self::Npm, Self::Pypi, Self::Cargo, Self::Nuget, Self::Maven, Self::Apt];

    /// The kind's name in commands, pages and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Oci => "oci",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Cargo => "cargo",
            Self::Nuget => "nuget",
            Self::Maven => "maven",
            Self::Apt => "apt",
        }
    }
}

impl fmt::Display for FeedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind of feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown feed kind {0:?}: use raw, oci, npm, pypi, cargo, nuget, maven or apt")]
pub struct UnknownKind(pub String);

impl FromStr for FeedKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// The rule a name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameRule {
    #[error("it is empty")]
    Empty,
    #[error("it has {found} bytes and at most {most} are allowed")]
    TooLong { found: usize, most: usize },
    #[error("it holds a control character")]
    Control,
    #[error("it holds a mark that turns the direction of writing, so that it reads as another name")]
    Direction,
    #[error("it holds `*`, `,` or `=`, or begins with `-`, which commands read otherwise")]
    Option,
    #[error("it holds `/` or `\\` where none is allowed")]
    Separator,
    #[error("it starts with a dot or has an empty, `.` or `..` part")]
    Dots,
    #[error("it starts or ends with a space")]
    Space,
    #[error("it is not in its kind's normal form, or its letters are not in Unicode's composed form (NFC)")]
    NotNormal,
    #[error("some systems take it for a device, or drop its last character")]
    Reserved,
}

/// A name that is refused, with the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not allowed: {rule}")]
pub struct BadName {
    /// Which name: "package name", "version", "file name", "feed name".
    pub what: &'static str,
    /// The name, cut to 80 characters.
    pub name: String,
    pub rule: NameRule,
}

/// Whether a character overrides, embeds or isolates the direction of what follows (Unicode's bidirectional algorithm, UAX 9, section 2). The marks of
/// right-to-left scripts, which turn nothing but themselves, are none.
const fn turns(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn check(what: &'static str, name: &str, most: usize, slashes: bool) -> Result<(), BadName> {
    let bad = |rule| Err(BadName { what, name: name.chars().take(80).collect(), rule });
    if name.is_empty() {
        return bad(NameRule::Empty);
    }
    if name.len() > most {
        return bad(NameRule::TooLong { found: name.len(), most });
    }
    if name.chars().any(char::is_control) {
        return bad(NameRule::Control);
    }
    if name.chars().any(turns) {
        return bad(NameRule::Direction);
    }
    if name.contains('\\') || (!slashes && name.contains('/')) {
        return bad(NameRule::Separator);
    }
    if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return bad(NameRule::Dots);
    }
    if name.starts_with(' ') || name.ends_with(' ') {
        return bad(NameRule::Space);
    }
    if !is_nfc(name) {
        return bad(NameRule::NotNormal);
    }
    Ok(())
}

/// Checks a feed, site or link label: what people type, at most 64 bytes, no separators.
///
/// # Errors
/// The rule the label breaks.
pub fn check_label(what: &'static str, label: &str) -> Result<(), BadName> {
    check(what, label, LABEL_BYTES_MAX, false)
}

/// Checks a feed's name: a label that no option of a command reads as all feeds, as several, or as a setting.
///
/// # Errors
/// The rule the name breaks.
pub fn check_feed_name(name: &str) -> Result<(), BadName> {
    check_label("feed name", name)?;
    if name.contains(['*', ',', '=']) || name.starts_with('-') {
        return Err(BadName { what: "feed name", name: name.to_owned(), rule: NameRule::Option });
    }
    Ok(())
}

/// Checks a file's name inside a version.
///
/// # Errors
/// The rule the name breaks.
pub fn check_file_name(name: &str) -> Result<(), BadName> {
    check("file name", name, FILE_NAME_BYTES_MAX, false)?;
    // Files are written under their names where somebody gets them.
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = ["com", "lpt"]
        .iter()
        .any(|port| stem.strip_prefix(port).is_some_and(|rest| matches!(rest.as_bytes(), [b'0'..=b'9'])));
    if numbered || ["con", "prn", "aux", "nul"].contains(&stem.as_str()) || name.ends_with('.') {
        let name = name.chars().take(80).collect();
        return Err(BadName { what: "file name", name, rule: NameRule::Reserved });
    }
    Ok(())
}

/// One release of one package, in normal form. Two coordinates are the same package version exactly when they are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coordinate {
    pub kind: FeedKind,
    pub name: String,
    pub version: String,
}

impl Coordinate {
    /// The normal form of what a person or client wrote.
    ///
    /// # Errors
    /// The rule that the name or version breaks.
    pub fn new(kind: FeedKind, name: &str, version: &str) -> Result<Self, BadName> {
        let (name, version): (String, String) = (name.nfc().collect(), version.nfc().collect());
        let coordinate =
            Self { kind, name: normal_name(kind, &name), version: normal_version(kind, &version) };
        coordinate.check()?;
        Ok(coordinate)
    }

    /// Checks a coordinate that came from elsewhere: signed statements hold normal forms only, so
    /// that one version cannot hide behind two spellings.
    ///
    /// # Errors
    /// The rule that the name or version breaks.
    pub fn check(&self) -> Result<(), BadName> {
        let slashes = matches!(self.kind, FeedKind::Npm | FeedKind::Oci | FeedKind::Maven);
        check("package name", &self.name, NAME_BYTES_MAX, slashes)?;
        check("version", &self.version, VERSION_BYTES_MAX, false)?;
        let normal = |rule_holds: bool, what, name: &str| {
            if rule_holds {
                Ok(())
            } else {
                Err(BadName { what, name: name.chars().take(80).collect(), rule: NameRule::NotNormal })
            }
        };
        normal(normal_name(self.kind, &self.name) == self.name, "package name", &self.name)?;
        normal(normal_version(self.kind, &self.version) == self.version, "version", &self.version)
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// PyPI folds case and runs of `-`, `_`, `.` (PEP 503); NuGet, OCI and npm fold case; the others are taken as written.
fn normal_name(kind: FeedKind, name: &str) -> String {
    match kind {
        FeedKind::Pypi => {
            let mut normal = String::with_capacity(name.len());
            for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
                if !normal.is_empty() {
                    normal.push('-');
                }
                normal.push_str(&part.to_ascii_lowercase());
            }
            normal
        }
        FeedKind::Nuget | FeedKind::Oci | FeedKind::Npm => name.to_lowercase(),
        FeedKind::Raw | FeedKind::Cargo | FeedKind::Maven | FeedKind::Apt => name.to_owned(),
    }
}

/// NuGet compares versions without regard to case; the others are taken as written.
fn normal_version(kind: FeedKind, version: &str) -> String {
    match kind {
        FeedKind::Nuget => version.to_lowercase(),
        FeedKind::Raw
        | FeedKind::Oci
        | FeedKind::Npm
        | FeedKind::Pypi
        | FeedKind::Cargo
        | FeedKind::Maven
        | FeedKind::Apt => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for name in ["..", ".", "a/b", "a\\b", "", "a\0b", "a\nb", " a", "a ", ".hidden", &"n".repeat(215)] {
            assert!(Coordinate::new(FeedKind::Raw, name, "1").is_err(), "{name:?}");
            if name.len() < 200 {
                assert!(Coordinate::new(FeedKind::Raw, "a", name).is_err(), "{name:?}");
                assert!(check_file_name(name).is_err(), "{name:?}");
            }
        }
        for name in ["@scope/../x", "a//b", "/a", "a/"] {
            assert!(Coordinate::new(FeedKind::Npm, name, "1").is_err(), "{name:?}");
        }
        assert!(Coordinate::new(FeedKind::Npm, "@scope/pkg", "1.0.0").is_ok());
    }

    #[test]
    fn a_name_of_the_longest_length_is_taken_and_of_one_byte_more_refused() {
        type Checked = fn(String) -> Result<(), BadName>;
        let names: [(Checked, usize); 5] = [
            (|name| Coordinate::new(FeedKind::Raw, &name, "1").map(drop), NAME_BYTES_MAX),
            (|name| Coordinate::new(FeedKind::Raw, "a", &name).map(drop), VERSION_BYTES_MAX),
            (|name| check_file_name(&name), FILE_NAME_BYTES_MAX),
            (|name| check_feed_name(&name), LABEL_BYTES_MAX),
            (|name| check_label("site name", &name), LABEL_BYTES_MAX),
        ];
        for (checked, most) in names {
            assert_eq!(checked("n".repeat(most)), Ok(()));
            let found = most + 1;
            assert_eq!(checked("n".repeat(found)).unwrap_err().rule, NameRule::TooLong { found, most });
        }
    }

    #[test]
    fn one_version_has_one_spelling_a_kind() {
        let spelled = Coordinate::new(FeedKind::Pypi, "Foo__Bar.baz", "1.0").unwrap();
        assert_eq!(spelled.name, "foo-bar-baz");
        let foreign =
            Coordinate { kind: FeedKind::Pypi, name: "Foo_Bar".to_owned(), version: "1.0".to_owned() };
        assert_eq!(foreign.check().unwrap_err().rule, NameRule::NotNormal);
        assert_eq!(Coordinate::new(FeedKind::Raw, "Foo_Bar", "1").unwrap().name, "Foo_Bar");
    }

    /// "exe.txt" that is shown as "txt.exe" is another file; a name in Hebrew with its mark is none.
    #[test]
    fn names_that_read_as_others_are_refused() {
        for name in ["a\u{202e}txt.exe", "a\u{2066}b\u{2069}"] {
            assert_eq!(Coordinate::new(FeedKind::Raw, name, "1").unwrap_err().rule, NameRule::Direction);
            assert_eq!(check_file_name(name).unwrap_err().rule, NameRule::Direction);
            assert_eq!(check_label("site name", name).unwrap_err().rule, NameRule::Direction);
        }
        assert!(check_file_name("\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f}.txt").is_ok());
        for name in ["*", "a,b", "x=y", "-x", "--json"] {
            assert_eq!(check_feed_name(name).unwrap_err().rule, NameRule::Option, "{name}");
            assert!(check_label("site name", name).is_ok());
        }
        assert!(check_feed_name("tools-2").is_ok());
    }

    #[test]
    fn letters_that_look_alike_are_one_name_and_device_names_are_no_files() {
        let composed = Coordinate::new(FeedKind::Raw, "caf\u{e9}", "1").unwrap();
        assert_eq!(Coordinate::new(FeedKind::Raw, "cafe\u{301}", "1").unwrap(), composed);
        let foreign = Coordinate { name: "cafe\u{301}".to_owned(), ..composed };
        assert_eq!(foreign.check().unwrap_err().rule, NameRule::NotNormal);
        for name in ["CON", "nul.txt", "com1", "LPT9.tar.gz", "aux .h", "ends."] {
            assert_eq!(check_file_name(name).unwrap_err().rule, NameRule::Reserved, "{name:?}");
        }
        for name in ["console", "com10.txt", "nullable.rs", "a.con"] {
            assert!(check_file_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_kind_prints_and_parses_to_itself() {
        for kind in FeedKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("deb".parse::<FeedKind>().is_err());
    }
}
