//! The built binary, two or three nodes on loopback, as a person and a package client use them. Wiring only: the rules are tested where they live.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic: clippy exempts only functions marked as tests, and these call others"
)]

mod lab;

/// What people type, and what they are told when it is wrong.
mod bad_input;
/// What sites tell of what happens to them, by stream and by webhook.
mod events;
/// Bytes that leave one site and come back.
mod evict;
/// The guides, run as they stand.
mod guides;
/// Raw feeds over HTTP: streaming, ranges, tokens, cut uploads.
mod http;
/// Whoever listens to events.
mod receiver;
/// Kill -9, lost indexes, damaged packs.
mod recovery;
/// Packages and deletions between sites.
mod replication;
/// Copied and restored sites.
mod restore;
/// What is told of keys, tokens, tickets and webhook secrets: nothing.
mod secrets;
/// Events told to URLs, over kills.
mod webhooks;
