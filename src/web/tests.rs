//! The router of a real node, asked as clients ask it: every mistake is a problem with words, and tokens mean what they say.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use protocol::limits::HTTP_JSON_BYTES_MAX;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use super::{Door, Doors, router, watch};
use crate::api;
use crate::api::merge::MergeRequest;
use crate::api::ruling::FeedChange;
use crate::events::Event;
use crate::node::Node;

/// What is answered at all is answered within this.
const SOON: Duration = Duration::from_secs(10);

/// A body of which no byte ever comes.
fn endless() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>())
}

struct Lab {
    node: Node,
    _folder: TempDir,
}

impl Lab {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(folder.path(), Some("Lab"), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let new = api::NewFeed { name: "tools".to_owned(), kind: "raw".to_owned(), open_reads: false };
        node.create_feed(new).await.unwrap();
        Self { node, _folder: folder }
    }

    async fn token(&self, write: bool) -> String {
        let new =
            api::NewToken { label: "ci".to_owned(), feeds: vec!["tools".to_owned()], write, admin: false };
        self.node.create_token(new).await.unwrap().token
    }

    async fn ask(&self, door: Door, request: Request<Body>) -> (StatusCode, Value) {
        let response = router(self.node.clone(), door).oneshot(request).await.unwrap();
        let status = response.status();
        assert!(response.headers().contains_key("x-request-id"));
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(kind.as_deref(), Some("application/problem+json"), "{status}");
        }
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

fn request(method: Method, path: &str, token: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.header("content-type", "application/json").body(body.into()).unwrap()
}

#[tokio::test]
async fn every_mistake_is_a_problem_with_words() {
    let lab = Lab::new().await;
    for (method, path, body, status) in [
        (Method::GET, "/nowhere", "", 404),
        (Method::GET, "/api/v1/nowhere", "", 404),
        (Method::DELETE, "/api/v1/status", "", 405),
        (Method::POST, "/feeds/tools/a/1/f", "", 405),
        (Method::GET, "/api/v1/feeds/tools/packages?limit=many", "", 400),
        (Method::GET, "/api/v1/feeds/%ff", "", 400),
        (Method::GET, "/feeds/tools/%ff/1/f", "", 400),
        (Method::POST, "/api/v1/feeds", "{", 400),
        (Method::POST, "/api/v1/feeds", "{\"name\":\"x\"}", 422),
        (Method::POST, "/api/v1/feeds", "{\"name\":\"a/b\",\"kind\":\"raw\"}", 400),
        (Method::POST, "/api/v1/feeds", "{\"name\":\"x\",\"kind\":\"deb\"}", 400),
        (Method::POST, "/api/v1/feeds", "{\"name\":\"tools\",\"kind\":\"raw\"}", 409),
        (Method::GET, "/api/v1/runs/zz", "", 400),
    ] {
        let (found, problem) = lab.ask(Door::Socket, request(method.clone(), path, None, body)).await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {problem}");
        for word in ["title", "detail", "code"] {
            assert!(
                problem[word].as_str().is_some_and(|text| !text.is_empty()),
                "{method} {path}: {problem}"
            );
        }
    }
}

#[tokio::test]
async fn a_json_body_of_one_byte_over_the_limit_is_refused() {
    let lab = Lab::new().await;
    let asked = |bytes: usize| {
        let mut body = b"{\"name\":\"large\",\"kind\":\"raw\"}".to_vec();
        body.resize(bytes, b' ');
        request(Method::POST, "/api/v1/feeds", None, body)
    };
    let (status, problem) = lab.ask(Door::Socket, asked(HTTP_JSON_BYTES_MAX + 1)).await;
    assert_eq!(status, 413, "{problem}");
    let (status, made) = lab.ask(Door::Socket, asked(HTTP_JSON_BYTES_MAX)).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn a_token_opens_its_feed_and_nothing_else() {
    let lab = Lab::new().await;
    let (reads, writes) = (lab.token(false).await, lab.token(true).await);
    let file = "/feeds/tools/hello/1.0/hello.bin";
    let put = |token| request(Method::PUT, file, token, "bytes");
    assert_eq!(lab.ask(Door::Tcp, put(None)).await.0, 401);
    assert_eq!(lab.ask(Door::Tcp, put(Some("pbt_unknown"))).await.0, 401);
    assert_eq!(lab.ask(Door::Tcp, put(Some(&reads))).await.0, 403);
    let (status, package) = lab.ask(Door::Tcp, put(Some(&writes))).await;
    assert_eq!((status.as_u16(), package["state"].as_str()), (201, Some("ready")));
    assert_eq!(lab.ask(Door::Tcp, put(Some(&writes))).await.0, 200, "the same bytes again");
    assert_eq!(lab.ask(Door::Tcp, request(Method::GET, file, Some(&reads), "")).await.0, 200);
    assert_eq!(lab.ask(Door::Tcp, request(Method::GET, file, None, "")).await.0, 401);
    for path in ["/api/v1/status", "/api/v1/tokens", "/api/v1/site"] {
        assert_eq!(lab.ask(Door::Tcp, request(Method::GET, path, Some(&writes), "")).await.0, 403, "{path}");
        assert_eq!(lab.ask(Door::Tcp, request(Method::GET, path, None, "")).await.0, 401, "{path}");
        assert_eq!(lab.ask(Door::Socket, request(Method::GET, path, None, "")).await.0, 200, "{path}");
    }
}

/// A name is given up, and another feed gets it: by a rename, or by a merge.
#[tokio::test]
async fn a_token_goes_with_its_feed_and_opens_no_other_one_that_gets_its_name() {
    let lab = Lab::new().await;
    let (reads, writes) = (lab.token(false).await, lab.token(true).await);
    let file = |feed: &str| format!("/feeds/{feed}/hello/1.0/hello.bin");
    let asked = async |method: Method, path: String, token: &str, bytes: &'static str| {
        lab.ask(Door::Tcp, request(method, &path, Some(token), bytes)).await.0.as_u16()
    };
    assert_eq!(asked(Method::PUT, file("tools"), &writes, "its own").await, 201);
    let name = Some("archive".to_owned());
    lab.node.change_feed("tools", FeedChange { name, ..Default::default() }).await.unwrap();
    for name in ["tools", "other"] {
        let new = api::NewFeed { name: name.to_owned(), kind: "raw".to_owned(), open_reads: false };
        lab.node.create_feed(new).await.unwrap();
    }
    let put = request(Method::PUT, &file("tools"), None, "secret");
    assert_eq!(lab.ask(Door::Socket, put).await.0, 201);
    for token in [&reads, &writes] {
        assert_eq!(asked(Method::GET, file("tools"), token, "").await, 403);
        assert_eq!(asked(Method::GET, file("archive"), token, "").await, 200);
    }
    assert_eq!(asked(Method::PUT, file("tools"), &writes, "evil").await, 403);
    assert_eq!(asked(Method::DELETE, "/feeds/tools/hello/1.0".to_owned(), &writes, "").await, 403);
    assert_eq!(asked(Method::PUT, file("archive"), &writes, "its own").await, 200);
    let told = lab.node.tokens().await.unwrap().tokens;
    assert!(told.iter().all(|token| token.feeds == ["archive"]), "{told:?}");

    let merge = MergeRequest { into: "other".to_owned(), dry_run: false };
    lab.node.merge_feed("archive", merge).await.unwrap();
    for feed in ["archive", "other"] {
        assert_ne!(
            asked(Method::GET, file(feed), &reads, "").await,
            200,
            "the feed that took it in, as {feed}"
        );
    }
    assert_eq!(asked(Method::GET, file("archive-before-merge"), &reads, "").await, 200);
}

#[tokio::test]
async fn a_conflict_names_the_bytes_that_stand() {
    let lab = Lab::new().await;
    let file = "/feeds/tools/hello/1.0/hello.bin";
    let (_, package) = lab.ask(Door::Socket, request(Method::PUT, file, None, "one")).await;
    let (status, problem) = lab.ask(Door::Socket, request(Method::PUT, file, None, "two")).await;
    let held = package["files"][0]["blake3"].as_str().unwrap();
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains(held), "{problem}");
}

#[tokio::test]
async fn the_place_of_a_new_file_leads_to_it() {
    let lab = Lab::new().await;
    let put = request(Method::PUT, "/feeds/tools/big%20tool/1.0/read%20me", None, "bytes");
    let response = router(lab.node.clone(), Door::Socket).oneshot(put).await.unwrap();
    let place = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(place, "/feeds/tools/big%20tool/1.0/read%20me");
    assert_eq!(lab.ask(Door::Socket, request(Method::GET, &place, None, "")).await.0, 200);
}

#[tokio::test]
async fn names_are_refused_by_their_rule_before_the_body_is_read() {
    let lab = Lab::new().await;
    let long = format!("/feeds/tools/{}/1/f", "n".repeat(300));
    for path in ["/feeds/tools/%2e%2e/1/f", "/feeds/tools/a%2Fb/1/f", "/feeds/tools/a/1/%00", &long] {
        let put = request(Method::PUT, path, None, endless());
        let (status, problem) = lab.ask(Door::Socket, put).await;
        assert_eq!(status, 400, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains("not allowed"), "{problem}");
    }
    let (status, _) = lab.ask(Door::Socket, request(Method::PUT, "/feeds/none/a/1/f", None, endless())).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_panic_ends_one_request_alone() {
    async fn broken() {
        std::future::ready(()).await;
        panic!("on purpose");
    }
    let routes = Router::new().route("/", get(broken)).route("/sound", get("answered"));
    let routes = routes.layer(axum::middleware::from_fn(watch::watched));
    for _ in 0..2 {
        let response = routes.clone().oneshot(request(Method::GET, "/", None, "")).await.unwrap();
        assert_eq!(response.status(), 500);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(problem["code"], json!("bug"));
        assert!(!problem.to_string().contains("on purpose"), "the log has the details");

        let response = routes.clone().oneshot(request(Method::GET, "/sound", None, "")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answered");
    }
}

#[tokio::test]
async fn a_long_answer_ends_with_its_result_or_its_problem() {
    let lab = Lab::new().await;
    let lines = async |path: &str| {
        let asked = request(Method::POST, path, None, "");
        let response = router(lab.node.clone(), Door::Socket).oneshot(asked).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let last = String::from_utf8(bytes.to_vec()).unwrap().lines().last().unwrap().to_owned();
        serde_json::from_str::<Value>(&last).unwrap()
    };
    let verified = lines("/api/v1/verify").await;
    assert_eq!((&verified["event"], &verified["result"]["blobs_damaged"]), (&json!("done"), &json!(0)));
    let failed = lines("/api/v1/sync?link=nowhere").await;
    assert_eq!((&failed["event"], &failed["problem"]["code"]), (&json!("failed"), &json!("not-found")));
}

#[tokio::test]
async fn a_stranger_is_refused_before_their_body_is_read() {
    let lab = Lab::new().await;
    let reads = lab.token(false).await;
    for (method, path) in [
        (Method::POST, "/api/v1/feeds"),
        (Method::POST, "/api/v1/tokens"),
        (Method::POST, "/api/v1/pair/accept"),
        (Method::PATCH, "/api/v1/links/east"),
        (Method::PUT, "/api/v1/blobs"),
    ] {
        for (token, status) in [(None, 401), (Some(reads.as_str()), 403)] {
            let asked = lab.ask(Door::Tcp, request(method.clone(), path, token, endless()));
            let (found, _) = tokio::time::timeout(SOON, asked).await.expect("the body was waited for");
            assert_eq!(found.as_u16(), status, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_not_published_as_the_whole() {
    let lab = Lab::new().await;
    let file = "/feeds/tools/hello/1.0/hello.bin";
    let mut part = request(Method::PUT, file, None, "half");
    part.headers_mut().insert("content-range", "bytes 0-3/8".parse().unwrap());
    assert_eq!(lab.ask(Door::Socket, part).await.0, 400);
    assert_eq!(lab.ask(Door::Socket, request(Method::GET, file, None, "")).await.0, 404);
}

/// Status and body of a request over TCP, all of whose body is sent before the answer is looked at.
async fn called(address: std::net::SocketAddr, ask: &str, body: &[u8]) -> (String, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{ask} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_door_says_that_the_node_is_starting_until_it_is_up() {
    let mut doors = Doors::open(([127, 0, 0, 1], 0).into()).await.unwrap();
    let at = doors.tcp_address();
    assert_eq!(called(at, "GET /livez", &[]).await, ("200".to_owned(), "ok\n".to_owned()));
    for path in ["/readyz", "/feeds/tools/a/1/f", "/api/v1/status"] {
        let (status, body) = called(at, &format!("GET {path}"), &[]).await;
        assert!(status == "503" && body.contains("\"code\":\"starting\""), "{path}: {status} {body}");
    }
    let lab = Lab::new().await;
    doors.lead_to(lab.node.clone(), None).await.unwrap();
    for path in ["/livez", "/readyz"] {
        assert_eq!(called(at, &format!("GET {path}"), &[]).await, ("200".to_owned(), "ok\n".to_owned()));
    }
    assert_eq!(called(at, "GET /api/v1/status", &[]).await.0, "401");
    doors.close().await;
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_large_file_hears_why_it_was_refused() {
    let large = vec![7; 32 << 20];
    let mut doors = Doors::open(([127, 0, 0, 1], 0).into()).await.unwrap();
    let at = doors.tcp_address();
    assert_eq!(called(at, "PUT /feeds/tools/a/1/f", &large).await.0, "503");
    let lab = Lab::new().await;
    doors.lead_to(lab.node.clone(), None).await.unwrap();
    let (status, body) = called(at, "PUT /feeds/tools/a/1/f", &large).await;
    assert!(status == "401" && body.contains("\"title\":\"A token is needed\""), "{status} {body}");
    doors.close().await;
}

/// Whoever holds a stolen token may send for as long as it likes.
#[tokio::test]
async fn what_a_token_was_sending_when_it_was_revoked_is_not_published() {
    let lab = Lab::new().await;
    let new =
        api::NewToken { label: "ci".to_owned(), feeds: vec!["tools".to_owned()], write: true, admin: false };
    let made = lab.node.create_token(new).await.unwrap();
    let (node, id) = (lab.node.clone(), made.about.id.clone());
    let body = futures_util::stream::once(async move {
        node.revoke_token(&id).await.unwrap();
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"bytes"))
    });
    let path = "/feeds/tools/hello/1.0/hello.bin";
    let put = request(Method::PUT, path, Some(&made.token), Body::from_stream(body));
    let (status, _) = lab.ask(Door::Tcp, put).await;
    assert_eq!(status, 401);
}

async fn admin(lab: &Lab) -> api::TokenMade {
    let new = api::NewToken { label: "ci".to_owned(), feeds: Vec::new(), write: true, admin: true };
    lab.node.create_token(new).await.unwrap()
}

/// Whoever holds a stolen token of an admin may keep a request open and send what it asks for once the token is known to be stolen.
#[tokio::test]
async fn what_an_admins_token_was_asking_for_when_it_was_revoked_is_not_done() {
    let lab = Lab::new().await;
    let made = admin(&lab).await;
    let (node, id) = (lab.node.clone(), made.about.id.clone());
    let body = futures_util::stream::once(async move {
        node.revoke_token(&id).await.unwrap();
        let asked = "{\"label\":\"thief\",\"feeds\":[],\"write\":true,\"admin\":true}";
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(asked.as_bytes()))
    });
    let post = request(Method::POST, "/api/v1/tokens", Some(&made.token), Body::from_stream(body));
    let (status, told) = lab.ask(Door::Tcp, post).await;
    let left: Vec<_> = lab.node.tokens().await.unwrap().tokens.into_iter().map(|token| token.label).collect();
    assert_eq!((status.as_u16(), left), (401, Vec::new()), "{told}");
}

#[tokio::test]
async fn a_stream_of_events_ends_once_its_token_is_revoked() {
    let lab = Lab::new().await;
    let made = admin(&lab).await;
    let get = request(Method::GET, "/api/v1/events", Some(&made.token), Body::empty());
    let mut body = router(lab.node.clone(), Door::Tcp).oneshot(get).await.unwrap().into_body();
    let mut next = async || tokio::time::timeout(SOON, body.frame()).await.expect("soon");
    let up = |link: &str| Event::LinkUp { link: link.to_owned(), peer: "aa".into(), peer_name: "LA".into() };
    assert!(next().await.is_some(), "it is connected");
    lab.node.event(up("known"));
    assert!(next().await.is_some_and(|frame| frame.is_ok()));
    lab.node.revoke_token(&made.about.id).await.unwrap();
    lab.node.event(up("secret"));
    assert!(next().await.is_none());
}
