//! Messages to URLs that people name: where they may go, the secret that signs them, one attempt, and when the next is due.

pub(crate) mod pace;
pub(crate) mod post;
pub(crate) mod secret;
pub(crate) mod target;
