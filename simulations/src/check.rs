//! What is promised, one file a promise. Each looks at what sites hold and at the facts, and says in a sentence what is wrong.

pub mod bytes;
pub mod causality;
pub mod convergence;
pub mod damage;
pub mod doubles;
pub mod durability;
pub mod forks;
pub mod honesty;
pub mod permission;
pub mod queues;
pub mod quota;
pub mod ready;
pub mod resurrection;
pub mod rights;
pub mod row_20;
pub mod seals;
pub mod silence;
pub mod stamps;
pub mod theft;
pub mod trash;
pub mod words;

use crate::oracle::Seen;

/// A promise that does not hold: whose check found it, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {what}")]
pub struct Fault {
    pub check: &'static str,
    pub what: String,
}

/// Names the check whose word it is.
///
/// # Errors
/// What the check says.
pub fn by(check: &'static str, found: Result<(), String>) -> Result<(), Fault> {
    found.map_err(|what| Fault { check, what })
}

/// What may be wrong at no moment, however bad the lines are.
///
/// # Errors
/// The promise that does not hold.
pub fn always(seen: Seen<'_>) -> Result<(), Fault> {
    by("silence", silence::check(seen))?;
    by("honesty", honesty::check(seen))?;
    by("doubles", doubles::check(seen))?;
    by("forks", forks::check(seen))?;
    by("permission", permission::check(seen))?;
    by("rights", rights::check(seen))?;
    by("resurrection", resurrection::check(seen))?;
    by("row 20", row_20::check(seen))?;
    by("queues", queues::check(seen))
}

/// What must hold once everything had time to arrive.
///
/// # Errors
/// The promise that does not hold.
pub fn at_rest(seen: Seen<'_>) -> Result<(), Fault> {
    always(seen)?;
    by("rights", rights::everywhere(seen))?;
    by("convergence", convergence::check(seen))?;
    by("damage", damage::check(seen))?;
    by("durability", durability::check(seen))?;
    by("theft", theft::check(seen))?;
    by("stamps", stamps::check(seen))
}
