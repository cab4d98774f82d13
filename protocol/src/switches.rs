//! What may flow over a link, in four switches, and the verdict that both ends compute from the two statements of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fault::Reason;

/// What may flow over a link, from the point of view of the site that states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Switches {
    pub in_add: bool,
    pub in_delete: bool,
    pub out_add: bool,
    pub out_delete: bool,
}

impl Switches {
    pub const OFF: Self = Self { in_add: false, in_delete: false, out_add: false, out_delete: false };
    pub const PULL: Self = Self { in_add: true, in_delete: true, out_add: false, out_delete: false };
    pub const PUSH: Self = Self { in_add: false, in_delete: false, out_add: true, out_delete: true };
    pub const MIRROR: Self = Self { in_add: true, in_delete: true, out_add: true, out_delete: true };

    /// The same flows seen from the other end.
    #[must_use]
    pub const fn flip(self) -> Self {
        Self {
            in_add: self.out_add,
            in_delete: self.out_delete,
            out_add: self.in_add,
            out_delete: self.in_delete,
        }
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            in_add: self.in_add && other.in_add,
            in_delete: self.in_delete && other.in_delete,
            out_add: self.out_add && other.out_add,
            out_delete: self.out_delete && other.out_delete,
        }
    }

    /// What either allows.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            in_add: self.in_add || other.in_add,
            in_delete: self.in_delete || other.in_delete,
            out_add: self.out_add || other.out_add,
            out_delete: self.out_delete || other.out_delete,
        }
    }

    /// What is here and not in the other: what is lost when less is allowed than asked.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            in_add: self.in_add && !other.in_add,
            in_delete: self.in_delete && !other.in_delete,
            out_add: self.out_add && !other.out_add,
            out_delete: self.out_delete && !other.out_delete,
        }
    }

    /// What flows of the words of one author. Of what the receiver said itself (`own`) a link that lets anything in holds nothing back: it is
    /// what damage took from it.
    #[must_use]
    pub const fn of_author(self, own: bool) -> Self {
        let all_in = own && self.flows_in();
        Self { in_add: self.in_add || all_in, in_delete: self.in_delete || all_in, ..self }
    }

    /// The same without any deletes.
    #[must_use]
    pub const fn adds_only(self) -> Self {
        Self { in_delete: false, out_delete: false, ..self }
    }

    /// Whether nothing flows.
    #[must_use]
    pub fn is_off(self) -> bool {
        self == Self::OFF
    }

    /// Whether anything flows in.
    #[must_use]
    pub const fn flows_in(self) -> bool {
        self.in_add || self.in_delete
    }

    /// Whether anything flows out.
    #[must_use]
    pub const fn flows_out(self) -> bool {
        self.out_add || self.out_delete
    }
}

impl fmt::Display for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OFF => return f.write_str("off"),
            Self::PULL => return f.write_str("pull"),
            Self::PUSH => return f.write_str("push"),
            Self::MIRROR => return f.write_str("mirror"),
            _ => {}
        }
        let mut sep = "";
        for (on, name) in [
            (self.in_add, "in.add"),
            (self.in_add && self.in_delete, "in.delete"),
            (!self.in_add && self.in_delete, IN_DELETES_ONLY),
            (self.out_add, "out.add"),
            (self.out_add && self.out_delete, "out.delete"),
            (!self.out_add && self.out_delete, OUT_DELETES_ONLY),
        ] {
            if on {
                write!(f, "{sep}{name}")?;
                sep = ",";
            }
        }
        Ok(())
    }
}

const IN_DELETES_ONLY: &str = "in.deletes-only";
const OUT_DELETES_ONLY: &str = "out.deletes-only";

/// Why a text is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMode {
    #[error(
        "unknown mode {0:?}: use mirror, pull, push, off, mirror-adds, pull-adds, push-adds, or a list of in.add, in.delete, \
         out.add, out.delete"
    )]
    Word(String),
    /// Almost always a slip: packages would vanish on that way and none ever arrive.
    #[error(
        "mode {text:?} lets deletes go {way} and adds not: name {way}.add too, or write {way}.deletes-only if that is meant"
    )]
    DeletesAlone { text: String, way: &'static str },
    #[error("mode {text:?} has both {way}.add and {way}.deletes-only: leave one out")]
    OnlyAndAdds { text: String, way: &'static str },
}

impl FromStr for Switches {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        let lower = text.trim().to_ascii_lowercase();
        Ok(match lower.as_str() {
            "off" | "disabled" => Self::OFF,
            "pull" | "pull-only" | "read-only" => Self::PULL,
            "push" | "push-only" => Self::PUSH,
            "mirror" | "read/write" | "mirror-external" | "mirror external" => Self::MIRROR,
            "pull-adds" => Self::PULL.adds_only(),
            "push-adds" => Self::PUSH.adds_only(),
            "mirror-adds" => Self::MIRROR.adds_only(),
            list => return listed(list, text),
        })
    }
}

/// A mode that names its switches one by one.
fn listed(list: &str, text: &str) -> Result<Switches, BadMode> {
    let mut switches = Switches::OFF;
    let (mut in_only, mut out_only) = (false, false);
    for part in list.split(',') {
        let switch = match part.trim() {
            "in.add" => &mut switches.in_add,
            "in.delete" => &mut switches.in_delete,
            "out.add" => &mut switches.out_add,
            "out.delete" => &mut switches.out_delete,
            IN_DELETES_ONLY => &mut in_only,
            OUT_DELETES_ONLY => &mut out_only,
            _ => return Err(BadMode::Word(text.to_owned())),
        };
        *switch = true;
    }
    let (add_in, delete_in) = (switches.in_add, &mut switches.in_delete);
    one_way(text, "in", add_in, delete_in, in_only)?;
    let (add_out, delete_out) = (switches.out_add, &mut switches.out_delete);
    one_way(text, "out", add_out, delete_out, out_only)?;
    Ok(switches)
}

/// Deletes flow without adds only where that was said in so many words.
fn one_way(text: &str, way: &'static str, add: bool, delete: &mut bool, only: bool) -> Result<(), BadMode> {
    if only && add {
        return Err(BadMode::OnlyAndAdds { text: text.to_owned(), way });
    }
    if *delete && !add && !only {
        return Err(BadMode::DeletesAlone { text: text.to_owned(), way });
    }
    *delete |= only;
    Ok(())
}

/// Whether a link works, decided from what both ends state before anything moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The dialler asks for nothing.
    NothingAsked,
    /// Nothing of what is asked is allowed.
    Invalid(Reason),
    /// Some of what is asked is allowed; the link works as far as that goes.
    Warning { effective: Switches },
    /// All that is asked is allowed.
    Valid { effective: Switches },
}

impl Verdict {
    /// `effective = what the listener allows and the dialler asks`, both in the dialler's terms.
    #[must_use]
    pub fn of(allowed: Switches, asked: Switches) -> Self {
        let effective = allowed.and(asked);
        if asked.is_off() {
            Self::NothingAsked
        } else if effective.is_off() {
            Self::Invalid(Reason::NothingAllowed)
        } else if effective == asked {
            Self::Valid { effective }
        } else {
            Self::Warning { effective }
        }
    }

    /// What flows, in the dialler's terms.
    #[must_use]
    pub const fn effective(self) -> Switches {
        match self {
            Self::NothingAsked | Self::Invalid(_) => Switches::OFF,
            Self::Warning { effective } | Self::Valid { effective } => effective,
        }
    }

    /// The verdict in one word, as the tables have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NothingAsked => "-",
            Self::Invalid(_) => "Invalid",
            Self::Warning { .. } => "Warning",
            Self::Valid { .. } => "Valid",
        }
    }
}

#[cfg(test)]
mod tests;
