//! Finding the difference of two sets.
