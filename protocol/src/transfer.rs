//! Which bytes to ask for next.
