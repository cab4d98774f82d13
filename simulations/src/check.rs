//! What is promised, one file a promise. Each looks at what sites hold and at the facts, and says in a sentence what is wrong.

pub mod bytes;
pub mod convergence;
pub mod durability;
pub mod honesty;
pub mod permission;
pub mod queues;
pub mod resurrection;
pub mod row_20;
pub mod seals;
pub mod stamps;

use crate::oracle::Seen;

/// What may be wrong at no moment, however bad the lines are.
///
/// # Errors
/// The promise that does not hold.
pub fn always(seen: Seen<'_>) -> Result<(), String> {
    honesty::check(seen)?;
    permission::check(seen)?;
    resurrection::check(seen)?;
    row_20::check(seen)?;
    queues::check(seen)
}

/// What must hold once everything had time to arrive.
///
/// # Errors
/// The promise that does not hold.
pub fn at_rest(seen: Seen<'_>) -> Result<(), String> {
    always(seen)?;
    convergence::check(seen)?;
    durability::check(seen)?;
    stamps::check(seen)
}
