//! One author's log in one feed.
