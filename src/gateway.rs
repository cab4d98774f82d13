//! Package clients: each kind of feed in the words of its own tools. No storage or permission rule lives here.

pub(crate) mod raw;
