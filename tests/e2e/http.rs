//! Raw feeds over HTTP as any client sees them.

use std::io::Write;
use std::net::TcpStream;

use crate::lab::{Site, bytes_of};

fn site() -> (Site, String) {
    let ny = Site::new("New York");
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let token = ny.ok(&["token", "create", "--feed", "tools", "--write", "--label", "ci"]);
    (ny, token["token"].as_str().unwrap().to_owned())
}

pub(crate) fn request(method: &str, path: &str, token: &str, more: &str, body: usize) -> String {
    let auth = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{auth}{more}Content-Length: {body}\r\n\r\n"
    )
}

const FILE: &str = "/feeds/tools/hello/1.0/hello.bin";

#[test]
fn a_file_is_put_read_in_parts_and_deleted() {
    let (ny, token) = site();
    let content = bytes_of(1, 1_000_000);
    let (status, head, _) = ny.http(&request("PUT", FILE, &token, "", content.len()), &content);
    assert_eq!(status, 201, "{head}");
    let (status, head, body) = ny.http(&request("GET", FILE, &token, "", 0), b"");
    assert_eq!((status, body == content), (200, true), "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let (status, _, body) = ny.http(&request("HEAD", FILE, &token, "", 0), b"");
    assert_eq!((status, body.len()), (200, 0));
    let (status, head, body) = ny.http(&request("GET", FILE, &token, "Range: bytes=999990-\r\n", 0), b"");
    assert_eq!((status, &body[..]), (206, &content[999_990..]), "{head}");
    assert!(head.contains("content-range: bytes 999990-999999/1000000"), "{head}");
    let (status, _, _) = ny.http(&request("GET", FILE, &token, "Range: bytes=1000000-\r\n", 0), b"");
    assert_eq!(status, 416);
    let known = format!("If-None-Match: {etag}\r\n");
    assert_eq!(ny.http(&request("GET", FILE, &token, &known, 0), b"").0, 304);

    let (status, _, _) = ny.http(&request("PUT", FILE, &token, "", content.len()), &content);
    assert_eq!(status, 200, "the same bytes again");
    let (status, _, body) = ny.http(&request("PUT", FILE, &token, "", 3), b"two");
    let problem = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(status, 409, "{problem}");
    assert!(problem.contains(etag.trim_matches('"')), "it names the existing hash: {problem}");

    let (status, _, body) = ny.http(&request("GET", "/feeds/tools/", &token, "", 0), b"");
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&body).contains("\"hello\""));
    assert_eq!(ny.http(&request("DELETE", "/feeds/tools/hello/1.0", &token, "", 0), b"").0, 204);
    assert_eq!(ny.http(&request("GET", FILE, &token, "", 0), b"").0, 404);
}

#[test]
fn no_token_a_wrong_one_and_one_for_another_feed_are_refused() {
    let (ny, token) = site();
    ny.ok(&["feed", "create", "other", "--kind", "raw"]);
    ny.ok(&["feed", "create", "open", "--kind", "raw", "--open-reads"]);
    let (status, head, _) = ny.http(&request("GET", FILE, "", "", 0), b"");
    assert_eq!(status, 401);
    assert!(head.to_lowercase().contains("www-authenticate"), "{head}");
    assert_eq!(ny.http(&request("GET", FILE, "pbt_wrong", "", 0), b"").0, 401);
    assert_eq!(ny.http(&request("GET", "/feeds/other/", &token, "", 0), b"").0, 403);
    assert_eq!(ny.http(&request("GET", "/feeds/open/", "", "", 0), b"").0, 200);
    assert_eq!(ny.http(&request("PUT", "/feeds/open/a/1/f", "", "", 1), b"x").0, 401);
    assert_eq!(ny.http(&request("GET", "/api/v1/status", &token, "", 0), b"").0, 403);
    assert_eq!(ny.http(&request("GET", "/nowhere", "", "", 0), b"").0, 404);
}

#[test]
fn bad_names_are_400_with_the_rule_and_a_cut_upload_publishes_nothing() {
    let (ny, token) = site();
    for path in
        ["/feeds/tools/%2e%2e/1/f", "/feeds/tools/a%2Fb/1/f", "/feeds/tools/a/1/%00", "/feeds/tools/a/1/.x"]
    {
        let (status, _, body) = ny.http(&request("PUT", path, &token, "", 1), b"x");
        assert_eq!(status, 400, "{path}: {}", String::from_utf8_lossy(&body));
        assert!(String::from_utf8_lossy(&body).contains("not allowed"), "{path}");
    }
    assert_eq!(ny.http(&request("PUT", "/feeds/none/a/1/f", &token, "", 1), b"x").0, 403);

    let mut cut = TcpStream::connect(&ny.http).unwrap();
    cut.write_all(request("PUT", FILE, &token, "", 1_000_000).as_bytes()).unwrap();
    cut.write_all(&bytes_of(2, 400_000)).unwrap();
    drop(cut);
    assert_eq!(ny.http(&request("GET", FILE, &token, "", 0), b"").0, 404);
    let content = bytes_of(2, 1_000_000);
    assert_eq!(ny.http(&request("PUT", FILE, &token, "", content.len()), &content).0, 201);
}
