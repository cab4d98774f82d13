//! Raw feeds: files of versions by PUT, GET, HEAD and DELETE, streamed both ways.

use std::ops::Range;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, put};
use futures_util::StreamExt;
use protocol::limits::{BLOB_BYTES_MAX, HTTP_IDLE_MS_MAX};
use protocol::package::check_file_name;

use crate::api::path::segment;
use crate::api::{self, Problem, Schema};
use crate::node::Node;
use crate::web::{Caller, Names, Refusal, Served, may_read, may_write};

type Answered = Result<Response<Body>, Refusal>;
type FilePath = Names<(String, String, String, String)>;

/// The time at which the sites this feed comes from had nothing that is not here: how old an answer may be.
const AS_OF: axum::http::HeaderName = axum::http::HeaderName::from_static("x-packetboat-as-of");

/// Versions in one page of a listing.
const PAGE: usize = 1000;

/// The routes of raw feeds.
pub(crate) fn routes() -> Router<Served> {
    Router::new()
        .route("/feeds/{feed}", get(list))
        .route("/feeds/{feed}/", get(list))
        .route("/feeds/{feed}/{name}/{version}", delete(delete_version))
        .route("/feeds/{feed}/{name}/{version}/{file}", put(put_file).get(get_file))
        .layer(DefaultBodyLimit::disable())
}

#[derive(Debug, serde::Deserialize)]
struct ListQuery {
    pattern: Option<String>,
    after: Option<String>,
}

async fn list(
    State(served): State<Served>,
    caller: Caller,
    Names(feed): Names<String>,
    asked: Result<Query<ListQuery>, QueryRejection>,
) -> Answered {
    may_read(&served, &caller, &feed).await?;
    let Query(asked) = asked?;
    let page = served.node.packages(&feed, asked.pattern, asked.after, PAGE).await?;
    Ok(axum::Json(page.answer()).into_response())
}

async fn delete_version(
    State(served): State<Served>,
    caller: Caller,
    Names((feed, name, version)): Names<(String, String, String)>,
) -> Answered {
    may_write(&served, &caller, &feed).await?;
    served.node.delete(&feed, &name, &version, String::new(), false).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Streams a body into the store. A body that is cut leaves bytes that no version names, and nothing published.
pub(crate) async fn take_body(node: &Node, body: Body) -> Result<api::Upload, Refusal> {
    let idle = Duration::from_millis(HTTP_IDLE_MS_MAX);
    let mut upload = node.begin_upload();
    let mut bytes: u64 = 0;
    let mut stream = body.into_data_stream();
    loop {
        let next = tokio::time::timeout(idle, stream.next()).await.map_err(|_elapsed| {
            let detail = format!("nothing more came for {} s", idle.as_secs());
            Problem::new(408, "interrupted", "The upload stalled", detail)
        })?;
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|error| {
            Problem::new(400, "interrupted", "The upload was cut", error.to_string())
                .hint("nothing was published; send it again")
        })?;
        bytes = bytes.saturating_add(chunk.len() as u64);
        if bytes > BLOB_BYTES_MAX {
            let detail = format!("a file has at most {BLOB_BYTES_MAX} bytes");
            return Err(Problem::new(413, "too-large", "The file is too large", detail).into());
        }
        upload.write(chunk).await?;
    }
    Ok(upload.finish().await?)
}

async fn put_file(
    State(served): State<Served>,
    caller: Caller,
    Names((feed, name, version, file)): FilePath,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    may_write(&served, &caller, &feed).await?;
    // Names and feed first: a large upload to nowhere is refused before its bytes are taken.
    check_file_name(&file).map_err(Problem::from)?;
    if headers.contains_key(CONTENT_RANGE) {
        let detail = "a body with Content-Range is a part of a file, and files are taken whole";
        return Err(Problem::new(400, "usage", "A part of a file cannot be published", detail).into());
    }
    let before = standing(&served.node, &feed, &name, &version).await?;
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > BLOB_BYTES_MAX) {
        let detail = format!("a file has at most {BLOB_BYTES_MAX} bytes");
        return Err(Problem::new(413, "too-large", "The file is too large", detail).into());
    }
    let stored = take_body(&served.node, body).await?;
    // The name may have become another feed's while the bytes came.
    may_write(&served, &caller, &feed).await?;
    let etag = format!("\"{}\"", stored.blake3);
    let new = api::NewPackage {
        name: name.clone(),
        version: version.clone(),
        files: vec![api::File {
            name: file.clone(),
            size: stored.size,
            blake3: stored.blake3,
            sha256: stored.sha256,
        }],
        restore: false,
    };
    let package = served.node.publish(&feed, new).await?;
    let already = before.is_some() && before == package.op;
    let status = if already { StatusCode::OK } else { StatusCode::CREATED };
    let place = [&feed, &package.name, &package.version, &file].map(|name| segment(name)).join("/");
    let mut response = (status, axum::Json(package.answer())).into_response();
    let headers = response.headers_mut();
    insert(headers, ETAG, &etag);
    insert(headers, LOCATION, &format!("/feeds/{place}"));
    Ok(response)
}

/// The publish that is served at a coordinate, if one is. Fails where the names are not allowed or there is no such feed.
async fn standing(node: &Node, feed: &str, name: &str, version: &str) -> Result<Option<String>, Problem> {
    match node.package(feed, name, version).await {
        Ok(package) => Ok(package.op),
        Err(problem) if problem.status == 404 => {
            // It is the feed that is missing, or only the version.
            node.packages(feed, None, None, 1).await?;
            Ok(None)
        }
        Err(problem) => Err(problem),
    }
}

async fn get_file(
    State(served): State<Served>,
    caller: Caller,
    Names((feed, name, version, file)): FilePath,
    method: Method,
    headers: HeaderMap,
) -> Answered {
    may_read(&served, &caller, &feed).await?;
    let open = served.node.open_file(&feed, &name, &version, &file).await?;
    let as_of = served.node.feed_as_of(&feed).await;
    let (size, etag) = (open.size, format!("\"{}\"", open.blob));
    let mut response = Response::new(Body::empty());
    {
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // Other people's files must not run as pages of this origin.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // A version may be deleted: keep the bytes, ask again each time.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        insert(headers, ETAG, &etag);
        if let Some(as_of) = as_of {
            insert(headers, AS_OF, &as_of);
        }
    }
    if matches_etag(&headers, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let range = match asked_range(&headers, &etag, size) {
        Asked::Whole => 0..size,
        Asked::Part(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let told = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
            insert(response.headers_mut(), CONTENT_RANGE, &told);
            range
        }
        Asked::Nothing => {
            let detail = format!("the file has {size} bytes");
            let problem = Problem::new(416, "usage", "The range lies outside the file", detail);
            let mut response = crate::web::problem_response(&problem);
            insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
    };
    insert(response.headers_mut(), CONTENT_LENGTH, &(range.end - range.start).to_string());
    if method != Method::HEAD {
        // A client that resumes has been counted already.
        if range.start == 0 {
            served.node.downloaded(&feed, &name, &version).await;
        }
        *response.body_mut() = Body::from_stream(open.stream(range));
    }
    Ok(response)
}

fn insert(headers: &mut HeaderMap, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let Some(asked) = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else { return false };
    asked.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    /// A range that no byte of the file lies in.
    Nothing,
}

/// One range of bytes. Several, or another unit, are answered with the whole file, as RFC 9110 allows.
fn asked_range(headers: &HeaderMap, etag: &str, size: u64) -> Asked {
    // Who holds a part of other bytes must get the whole, or would join two halves of different files.
    if headers.get(IF_RANGE).is_some_and(|held| held.as_bytes() != etag.as_bytes()) {
        return Asked::Whole;
    }
    let Some(asked) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else { return Asked::Whole };
    let Some((first, last)) = asked.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(suffix)) if first.is_empty() && suffix > 0 => size.saturating_sub(suffix)..size,
        (Err(_), Ok(0)) if first.is_empty() => return Asked::Nothing,
        _ => return Asked::Whole,
    };
    if range.start >= size { Asked::Nothing } else { Asked::Part(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_rfc_9110_says() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_str(value).unwrap());
            asked_range(&headers, "\"tag\"", 100)
        };
        assert_eq!(asked_range(&HeaderMap::new(), "\"tag\"", 100), Asked::Whole);
        assert_eq!(asked("bytes=0-0"), Asked::Part(0..1));
        assert_eq!(asked("bytes=10-"), Asked::Part(10..100));
        assert_eq!(asked("bytes=90-1000"), Asked::Part(90..100));
        assert_eq!(asked("bytes=-5"), Asked::Part(95..100));
        assert_eq!(asked("bytes=-500"), Asked::Part(0..100));
        assert_eq!(asked("bytes=100-"), Asked::Nothing);
        assert_eq!(asked("bytes=-0"), Asked::Nothing);
        assert_eq!(asked("bytes=5-2"), Asked::Whole);
        assert_eq!(asked("bytes=0-1,5-6"), Asked::Whole);
        assert_eq!(asked("lines=0-1"), Asked::Whole);
    }

    #[test]
    fn a_part_of_other_bytes_is_not_continued() {
        let asked = |held: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static("bytes=50-"));
            headers.insert(IF_RANGE, HeaderValue::from_static(held));
            asked_range(&headers, "\"tag\"", 100)
        };
        assert_eq!(asked("\"tag\""), Asked::Part(50..100));
        assert_eq!(asked("\"other\""), Asked::Whole);
        assert_eq!(asked("W/\"tag\""), Asked::Whole);
    }
}
