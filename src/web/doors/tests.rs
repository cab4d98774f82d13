//! What one connection may cost: the bytes of a head, the time for it, and a place.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::*;

/// What is answered at all is answered within this.
const SOON: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn desk() -> Desk {
    Desk::new(Behind::routes(Router::new().route("/", get("answered"))))
}

/// A client's end of a connection.
fn called(desk: &Desk) -> DuplexStream {
    let (near, far) = duplex(HTTP_HEADER_BYTES_MAX);
    desk.welcome(near);
    far
}

/// What a client that says this is told until the connection ends.
async fn told(client: &mut DuplexStream, says: &[u8]) -> String {
    let mut answer = String::new();
    // A connection that was not taken does not take bytes either.
    drop(client.write_all(says).await);
    timeout(SOON, client.read_to_string(&mut answer)).await.expect("the connection ends").unwrap();
    answer
}

#[tokio::test]
async fn a_head_of_one_byte_over_the_limit_is_refused() {
    let desk = desk();
    let head = |bytes: usize| {
        let mut head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: ".to_vec();
        head.resize(bytes - 4, b'a');
        head.extend(b"\r\n\r\n");
        head
    };
    let fits = told(&mut called(&desk), &head(HTTP_HEADER_BYTES_MAX)).await;
    assert!(fits.starts_with("HTTP/1.1 200 ") && fits.ends_with("answered"), "{fits}");
    let over = told(&mut called(&desk), &head(HTTP_HEADER_BYTES_MAX + 1)).await;
    assert!(over.starts_with("HTTP/1.1 431 "), "{over}");
}

/// In virtual time: a client may say nothing, or stop within its head, or go on so slowly that it never ends.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_end_its_head_is_cut_off_at_the_time_limit() {
    const LIMIT: Duration = Duration::from_millis(HTTP_HEADER_MS_MAX);
    let desk = desk();
    for says in [&b""[..], &REQUEST[..20]] {
        let mut client = called(&desk);
        let since = Instant::now();
        let answer = told(&mut client, says).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!((LIMIT..LIMIT + Duration::from_secs(1)).contains(&since.elapsed()), "{:?}", since.elapsed());
    }
    let mut client = called(&desk);
    let since = Instant::now();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    while client.write_all(b"G").await.is_ok() {
        assert!(since.elapsed() < 2 * LIMIT, "a byte a second holds a place for ever");
        every.tick().await;
    }
}

#[tokio::test]
async fn one_connection_over_the_limit_is_turned_away_and_the_next_has_the_place_of_one_that_left() {
    let desk = desk();
    let mut held: Vec<DuplexStream> = (0..HTTP_CONNECTIONS_MAX).map(|_| called(&desk)).collect();
    assert_eq!(told(&mut called(&desk), REQUEST).await, "");
    let answer = told(&mut held[0], REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "who is inside is served: {answer}");
    let deadline = Instant::now() + SOON;
    while !told(&mut called(&desk), REQUEST).await.starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "the place is not given back");
        tokio::task::yield_now().await;
    }
}
