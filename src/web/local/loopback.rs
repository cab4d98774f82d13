//! The local door where there are no Unix sockets: a loopback port, and a file with its address and a secret.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::middleware::{Next, from_fn};
use data_encoding::HEXLOWER;
use tokio::net::TcpListener;

use super::HEADER;
use crate::api::Problem;
use crate::web::{DoorError, problem_response};

/// The file that stands where a socket would.
pub(crate) fn file(socket: &Path) -> PathBuf {
    socket.with_extension("door")
}

/// What the file tells: where the door is, and its secret.
pub(crate) fn read(socket: &Path) -> io::Result<(SocketAddr, String)> {
    let text = std::fs::read_to_string(file(socket))?;
    let parts = text.trim_end().split_once(' ').and_then(|(at, secret)| Some((at.parse().ok()?, secret)));
    let (address, secret) = parts.ok_or_else(|| io::Error::from(ErrorKind::InvalidData))?;
    Ok((address, secret.to_owned()))
}

/// Opens a free loopback port and writes the file. Gives the hash of the secret.
pub(in crate::web) async fn bind(socket: &Path) -> Result<(TcpListener, blake3::Hash), DoorError> {
    let failed = |source: io::Error| DoorError::Socket { path: file(socket).display().to_string(), source };
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| failed(io::Error::other(error.to_string())))?;
    let secret = HEXLOWER.encode(&secret);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    // The data folder lies in the user's profile, which the system keeps from others.
    std::fs::write(file(socket), format!("{address} {secret}\n")).map_err(failed)?;
    Ok((listener, blake3::hash(secret.as_bytes())))
}

/// The routes, for whoever read the file.
pub(in crate::web) fn guarded(routes: Router, secret: blake3::Hash) -> Router {
    routes.layer(from_fn(move |request: Request, next: Next| pass(secret, request, next)))
}

async fn pass(secret: blake3::Hash, request: Request, next: Next) -> Response<Body> {
    let given = request.headers().get(HEADER).map(|given| blake3::hash(given.as_bytes()));
    // blake3's hash type compares in constant time.
    if given == Some(secret) {
        return next.run(request).await;
    }
    let detail = "this door is for the data folder's owner, and the request has not its secret";
    problem_response(&Problem::new(401, "refused", "The secret is missing", detail))
}

/// Takes the file away, if it is there.
pub(in crate::web) fn remove(socket: &Path) -> io::Result<()> {
    match std::fs::remove_file(file(socket)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn only_who_read_the_file_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let (listener, hash) = bind(&socket).await.unwrap();
        let (address, secret) = read(&socket).unwrap();
        assert_eq!(address, listener.local_addr().unwrap());
        let routes = guarded(Router::new().route("/", get(|| async { "in" })), hash);
        for (given, status) in [(Some(&*secret), 200), (Some("guess"), 401), (None, 401)] {
            let mut request = Request::builder().uri("/");
            if let Some(given) = given {
                request = request.header(HEADER, given);
            }
            let answer = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::from_u16(status).unwrap());
        }
        remove(&socket).unwrap();
        assert!(read(&socket).is_err());
        remove(&socket).unwrap();
    }
}
