//! A task per link: when it runs.
