//! File and flags to a validated configuration.
