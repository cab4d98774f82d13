//! One signed statement.
