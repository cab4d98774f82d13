//! A package's coordinate and when two are the same.
