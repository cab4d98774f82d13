//! When a link runs next.
