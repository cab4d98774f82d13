//! File and flags to a validated configuration.
use std::net::SocketAddr;
use std::path::Path;
#[derive(Debug, Clone)]
pub struct Config {
    pub name: Option<String>,
    pub listen: SocketAddr,
    pub http: SocketAddr,
    pub log: String,
}
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("x")]
    X,
}
impl Config {
    pub fn write_new(_data: &Path, _name: Option<&str>) -> Result<(), ConfigError> {
        Ok(())
    }
}
