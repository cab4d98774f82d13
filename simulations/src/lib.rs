//! Sims.
