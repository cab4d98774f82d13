//! Three real nodes in one process.
