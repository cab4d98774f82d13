//! The site key on disk.
