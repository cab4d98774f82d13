//! Shapes of what is found worth a person's attention.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Findings => "findings" }

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// advice, warning or error.
    pub severity: String,
    /// A stable word, such as `side-path`, `deletes-stop`, `single-relay`, `duplicate-link`, `verdict`, `run`, `clock`, `damage`, `held`.
    pub kind: String,
    pub text: String,
    /// What to do about it.
    pub hint: String,
}

/// All of it, the worst first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    pub findings: Vec<Finding>,
}
