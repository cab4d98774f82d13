//! What of a feed a link carries: names, the newest versions, sizes, ages. A filter narrows which bytes arrive; it removes nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{FILTER_NAMES_MAX, NAME_BYTES_MAX};
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// What may pass. The default lets everything pass. Ops always travel, so every site knows what exists; a filter says whose bytes come along.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Patterns of package names, `*` for any run of characters. A name passes when every group has a pattern it fits: each
    /// side of a link states one group.
    pub names: Vec<Vec<String>>,
    /// Only so many newest versions of each package, by publish time.
    pub latest: Option<u32>,
    /// Only versions of at most so many bytes in all files.
    pub size_max_bytes: Option<u64>,
    /// Only versions published at most so long ago.
    pub age_max_ms: Option<u64>,
}

/// A version as a filter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub name: &'a str,
    /// Bytes of all files.
    pub size: u64,
    pub published: Timestamp,
    /// How many served versions of the package are newer.
    pub newer: u32,
}

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum FilterError {
    #[error(
        "{0:?} is no filter: use name=PATTERN, latest=N, size=BYTES or age=DURATION, separated by commas"
    )]
    Unknown(String),
    #[error("{found} name patterns, and at most {FILTER_NAMES_MAX} are allowed in a filter")]
    TooMany { found: usize },
    #[error("the name pattern {0:?} is empty, too long or holds a control character")]
    Pattern(String),
}

impl Filter {
    /// Whether everything passes.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// What passes both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut names = self.names.clone();
        names.extend(other.names.iter().filter(|group| !self.names.contains(group)).cloned());
        Self {
            names,
            latest: least(self.latest, other.latest),
            size_max_bytes: least(self.size_max_bytes, other.size_max_bytes),
            age_max_ms: least(self.age_max_ms, other.age_max_ms),
        }
    }

    /// Whether it is certain that nothing can pass: no version is asked for, or two groups of names have no name in common.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let apart = |one: &Vec<String>, other: &Vec<String>| {
            !one.iter().any(|one| other.iter().any(|other| compatible(one, other)))
        };
        let mut pairs = self
            .names
            .iter()
            .enumerate()
            .flat_map(|(at, one)| self.names.iter().skip(at + 1).map(move |other| (one, other)));
        self.latest == Some(0)
            || self.names.iter().any(Vec::is_empty)
            || pairs.any(|(one, other)| apart(one, other))
    }

    /// Whether a package of that name can pass.
    #[must_use]
    pub fn admits_name(&self, name: &str) -> bool {
        self.names.iter().all(|group| group.iter().any(|pattern| fits(pattern, name)))
    }

    /// Whether a version passes at `now`.
    #[must_use]
    pub fn admits(&self, version: Candidate<'_>, now: Timestamp) -> bool {
        self.latest.is_none_or(|latest| version.newer < latest)
            && self.size_max_bytes.is_none_or(|most| version.size <= most)
            && self.age_max_ms.is_none_or(|most| now.0.saturating_sub(version.published.0) <= most)
            && self.admits_name(version.name)
    }

    /// Checks counts and patterns.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), FilterError> {
        let found = self.names.iter().map(Vec::len).sum::<usize>().max(self.names.len());
        if found > FILTER_NAMES_MAX {
            return Err(FilterError::TooMany { found });
        }
        for pattern in self.names.iter().flatten() {
            let bad =
                pattern.is_empty() || pattern.len() > NAME_BYTES_MAX || pattern.chars().any(char::is_control);
            if bad {
                return Err(FilterError::Pattern(pattern.chars().take(80).collect()));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("everything");
        }
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.names.iter().map(|group| format!("name={}", group.join("|"))));
        parts.extend(self.latest.map(|latest| format!("latest={latest}")));
        parts.extend(self.size_max_bytes.map(|most| format!("size={most}")));
        parts.extend(self.age_max_ms.map(|most| format!("age={}s", most / 1000)));
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    /// `none`, or parts separated by commas: `name=acme-*|tools`, `latest=3`, `size=100MB`, `age=90d`.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        if matches!(text, "none" | "everything") {
            return Ok(filter);
        }
        for part in text.split(',') {
            let unknown = || FilterError::Unknown(part.to_owned());
            let (key, value) = part.trim().split_once('=').ok_or_else(unknown)?;
            match key {
                "name" => filter.names.push(value.split('|').map(ToOwned::to_owned).collect()),
                "latest" => filter.latest = Some(value.parse().map_err(|_number| unknown())?),
                "size" => filter.size_max_bytes = Some(scaled(value, &SIZES).ok_or_else(unknown)?),
                "age" => filter.age_max_ms = Some(scaled(value, &AGES).ok_or_else(unknown)?),
                _ => return Err(unknown()),
            }
        }
        filter.check()?;
        Ok(filter)
    }
}

const SIZES: [(&str, u64); 7] = [
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("", 1),
];
const AGES: [(&str, u64); 4] = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Bytes of `1500`, `500KB`, `2GiB`.
#[must_use]
pub fn parse_size_bytes(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

/// Milliseconds of `90s`, `15m`, `24h`, `14d`.
#[must_use]
pub fn parse_age_ms(text: &str) -> Option<u64> {
    scaled(text, &AGES)
}

/// A number with a unit, in the smallest unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether a name fits a pattern in which `*` stands for any run of characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = left.get(at + part.len()..).unwrap_or_default();
    }
    left.ends_with(tail)
}

/// Whether some name may fit both patterns, as far as what stands before the first and after the last `*` tells.
fn compatible(one: &str, other: &str) -> bool {
    let ends = |pattern: &'_ str| -> (String, String, bool) {
        match (pattern.split_once('*'), pattern.rsplit_once('*')) {
            (Some((head, _)), Some((_, tail))) => (head.to_owned(), tail.to_owned(), true),
            _ => (pattern.to_owned(), pattern.to_owned(), false),
        }
    };
    let ((head, tail, open), (other_head, other_tail, other_open)) = (ends(one), ends(other));
    match (open, other_open) {
        (false, _) => fits(other, one),
        (_, false) => fits(one, other),
        (true, true) => {
            (head.starts_with(&other_head) || other_head.starts_with(&head))
                && (tail.ends_with(&other_tail) || other_tail.ends_with(&tail))
        }
    }
}
