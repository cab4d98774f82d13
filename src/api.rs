//! The shapes of the node's HTTP/JSON API.
