//! The HTTP server.
use crate::node::Node;
use std::net::SocketAddr;
use std::path::Path;
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("x")]
    X,
}
#[derive(Debug)]
pub struct Doors(SocketAddr);
impl Doors {
    pub async fn open(_node: Node, _socket: Option<&Path>, http: SocketAddr) -> Result<Self, DoorError> {
        Ok(Self(http))
    }
    pub fn tcp_address(&self) -> SocketAddr {
        self.0
    }
    pub async fn close(self) {}
}
