//! The data folder's own door: a Unix socket for its owner alone or, where there is none, loopback with a secret in a file.

#[cfg(any(test, not(unix)))]
pub(crate) mod loopback;

/// The header that carries the secret of a door that is no socket.
pub(crate) const HEADER: &str = "x-packetboat-door";

#[cfg(not(unix))]
pub(super) use loopback::remove;
#[cfg(unix)]
pub(super) use socket::{bind, remove};

#[cfg(unix)]
mod socket {
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    use std::path::Path;

    use tokio::net::UnixListener;

    use crate::web::DoorError;

    /// Opens the socket. The store's lock is held by then, so one that is there is a dead node's.
    pub(in crate::web) fn bind(path: &Path) -> Result<UnixListener, DoorError> {
        made(path).map_err(|source| DoorError::Socket { path: path.display().to_string(), source })
    }

    /// A fresh socket is open to whom the umask lets in: it is made where nobody else can go, shut, and then moved.
    fn made(path: &Path) -> io::Result<UnixListener> {
        // Shorter than the socket's own name: a socket's path has a hundred bytes.
        let room = path.with_file_name(".door");
        let fresh = room.join("s");
        remove(&fresh)?;
        present(std::fs::remove_dir(&room))?;
        std::fs::DirBuilder::new().mode(0o700).create(&room)?;
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        std::fs::remove_dir(&room)?;
        Ok(listener)
    }

    /// Takes the socket away, if it is there.
    pub(in crate::web) fn remove(path: &Path) -> io::Result<()> {
        present(std::fs::remove_file(path))
    }

    fn present(removed: io::Result<()>) -> io::Result<()> {
        removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[tokio::test]
        async fn a_dead_nodes_socket_is_replaced_by_one_for_the_owner_alone() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("api.sock");
            drop(bind(&path).unwrap());
            std::fs::create_dir(folder.path().join(".door")).unwrap();
            let listener = bind(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!folder.path().join(".door").exists());
            let (called, came) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
            assert!(called.is_ok() && came.is_ok());
            remove(&path).unwrap();
            remove(&path).unwrap();
        }
    }
}
