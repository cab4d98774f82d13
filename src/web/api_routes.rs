//! The routes of the admin API: each takes its words apart and asks the node.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};
use futures_util::stream;
use protocol::limits::{HTTP_JSON_BYTES_MAX, STEPS_WAITING_MAX};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::answer::told;
use super::sent::Sent;
use super::{Names, Refusal, Served, admission, event_routes, evict_routes, hold_routes, ruling_routes};
use crate::api::{self, Problem, Schema};
use crate::gateway::raw::take_body;
use crate::node::Step;

/// Versions in one page where the caller names no number.
const PAGE: usize = 1000;
/// Runs told where the caller names no number.
const RUNS: usize = 50;
pub(super) type Answered = Result<Response<Body>, Refusal>;
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) fn routes(served: &Served) -> Router<Served> {
    let json = Router::new()
        .route("/api/v1/site", get(site))
        .route("/api/v1/feeds", get(feeds).post(create_feed))
        .route("/api/v1/feeds/{feed}", get(feed))
        .route("/api/v1/feeds/{feed}/packages", get(packages).post(publish))
        .route("/api/v1/feeds/{feed}/packages/{name}/{version}", get(package).delete(delete_package))
        .route("/api/v1/pair", get(pairings))
        .route("/api/v1/pair/invite", post(invite))
        .route("/api/v1/pair/inspect", post(inspect))
        .route("/api/v1/pair/accept", post(accept))
        .route("/api/v1/links", get(links))
        .route("/api/v1/links/{link}", get(link).patch(change_link).delete(remove_link))
        .route("/api/v1/sync", post(sync))
        .route("/api/v1/status", get(status))
        .route("/api/v1/runs", get(runs))
        .route("/api/v1/runs/{run}", get(run))
        .route("/api/v1/why/{feed}/{name}/{version}", get(why))
        .route("/api/v1/tokens", get(tokens).post(create_token))
        .route("/api/v1/tokens/{token}", delete(revoke_token))
        .merge(super::plan_routes::routes())
        .merge(evict_routes::routes())
        .merge(super::keeping_routes::routes())
        .merge(super::space_routes::routes())
        .merge(super::doctor_routes::routes())
        .merge(ruling_routes::routes())
        .merge(hold_routes::routes())
        .merge(super::fork_routes::routes())
        .merge(super::backup_routes::routes())
        .merge(super::merge_routes::routes())
        .merge(event_routes::routes())
        .merge(super::log_routes::routes())
        .merge(super::webhook_routes::routes())
        .merge(super::key_routes::routes())
        .layer(DefaultBodyLimit::max(HTTP_JSON_BYTES_MAX));
    let bytes = Router::new().route("/api/v1/blobs", put(upload)).layer(DefaultBodyLimit::disable());
    let health = Router::new().route("/livez", get(alive)).route("/readyz", get(ready));
    // Before any handler, so that no stranger's body is waited for.
    let admitted = axum::middleware::from_fn_with_state(served.clone(), admission::administered);
    json.merge(bytes).route_layer(admitted).merge(health)
}

async fn alive() -> &'static str {
    std::future::ready("ok\n").await
}

/// Whether requests can be answered: a node whose store cannot be read answers none.
async fn ready(State(served): State<Served>) -> Result<&'static str, Refusal> {
    served.node.reads_its_store().await?;
    Ok("ok\n")
}

pub(super) fn query<T>(asked: Asked<T>) -> Result<T, Refusal> {
    Ok(asked?.0)
}

async fn site(State(served): State<Served>) -> Answered {
    std::future::ready(()).await;
    Ok(told(served.node.site()))
}

async fn feeds(State(served): State<Served>) -> Answered {
    Ok(told(served.node.feeds().await?))
}

async fn create_feed(State(served): State<Served>, Sent(new): Sent<api::NewFeed>) -> Answered {
    let feed = served.node.create_feed(new).await?;
    Ok((StatusCode::CREATED, told(feed)).into_response())
}

async fn feed(State(served): State<Served>, Names(name): Names<String>) -> Answered {
    Ok(told(served.node.feed(&name).await?))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    pattern: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

async fn packages(
    State(served): State<Served>,
    Names(feed): Names<String>,
    asked: Asked<PageQuery>,
) -> Answered {
    let page = query(asked)?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE);
    Ok(told(served.node.packages(&feed, page.pattern, page.after, limit).await?))
}

async fn publish(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(new): Sent<api::NewPackage>,
) -> Answered {
    let package = served.node.publish(&feed, new).await?;
    Ok((StatusCode::CREATED, told(package)).into_response())
}

type Named = Names<(String, String, String)>;

async fn package(State(served): State<Served>, Names((feed, name, version)): Named) -> Answered {
    Ok(told(served.node.package(&feed, &name, &version).await?))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    unseen: bool,
}

async fn delete_package(
    State(served): State<Served>,
    Names((feed, name, version)): Named,
    asked: Asked<DeleteQuery>,
) -> Answered {
    let asked = query(asked)?;
    Ok(told(served.node.delete(&feed, &name, &version, asked.reason, asked.unseen).await?))
}

async fn upload(State(served): State<Served>, body: Body) -> Answered {
    let stored = take_body(&served.node, body).await?;
    Ok((StatusCode::CREATED, told(stored)).into_response())
}

async fn invite(State(served): State<Served>, Sent(asked): Sent<api::InviteRequest>) -> Answered {
    Ok(told(served.node.invite(asked).await?))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketText {
    ticket: String,
}

async fn inspect(State(served): State<Served>, Sent(asked): Sent<TicketText>) -> Answered {
    std::future::ready(()).await;
    Ok(told(served.node.inspect(&asked.ticket)?))
}

async fn accept(State(served): State<Served>, Sent(asked): Sent<api::AcceptRequest>) -> Answered {
    Ok(told(served.node.accept(asked).await?))
}

async fn pairings(State(served): State<Served>) -> Answered {
    Ok(told(served.node.pairings().await?))
}

async fn links(State(served): State<Served>) -> Answered {
    Ok(told(served.node.links().await?))
}

async fn link(State(served): State<Served>, Names(name): Names<String>) -> Answered {
    Ok(told(served.node.link(&name).await?))
}

async fn change_link(
    State(served): State<Served>,
    Names(name): Names<String>,
    Sent(change): Sent<api::LinkChange>,
) -> Answered {
    Ok(told(served.node.change_link(&name, change).await?))
}

async fn remove_link(State(served): State<Served>, Names(name): Names<String>) -> Answered {
    served.node.remove_link(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    max_lag_ms: Option<u64>,
}

async fn status(State(served): State<Served>, asked: Asked<StatusQuery>) -> Answered {
    Ok(told(served.node.status(query(asked)?.max_lag_ms).await?))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RunsQuery {
    link: Option<String>,
    outcome: Option<String>,
    limit: Option<usize>,
}

async fn runs(State(served): State<Served>, asked: Asked<RunsQuery>) -> Answered {
    let asked = query(asked)?;
    let limit = asked.limit.unwrap_or(RUNS).clamp(1, PAGE);
    Ok(told(served.node.runs(asked.link, asked.outcome, limit).await?))
}

async fn run(State(served): State<Served>, Names(id): Names<String>) -> Answered {
    Ok(told(served.node.run_record(&id).await?))
}

async fn why(State(served): State<Served>, Names((feed, name, version)): Named) -> Answered {
    Ok(told(served.node.why(&feed, &name, &version).await?))
}

async fn tokens(State(served): State<Served>) -> Answered {
    Ok(told(served.node.tokens().await?))
}

async fn create_token(State(served): State<Served>, Sent(new): Sent<api::NewToken>) -> Answered {
    let made = served.node.create_token(new).await?;
    Ok((StatusCode::CREATED, told(made)).into_response())
}

async fn revoke_token(State(served): State<Served>, Names(id): Names<String>) -> Answered {
    served.node.revoke_token(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SyncQuery {
    link: Option<String>,
    feed: Option<String>,
    #[serde(default)]
    outside_window: bool,
}

async fn sync(State(served): State<Served>, asked: Asked<SyncQuery>) -> Answered {
    let asked = query(asked)?;
    std::future::ready(()).await;
    Ok(streamed(|steps| async move {
        served.node.sync(asked.link, asked.feed, asked.outside_window, steps).await
    }))
}

/// A line of JSON a step, and the result as the last line.
pub(super) fn streamed<T, W, F>(work: W) -> Response<Body>
where
    T: Schema + Serialize + DeserializeOwned + Send + 'static,
    W: FnOnce(mpsc::Sender<Step>) -> F,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let (steps, stepped) = mpsc::channel(STEPS_WAITING_MAX);
    let (result, ended) = tokio::sync::oneshot::channel();
    let work = work(steps);
    tokio::spawn(async move {
        let told = work.await;
        if result.send(told).is_err() {
            tracing::debug!("the caller left before the result");
        }
    });
    let lines = stream::unfold((stepped, Some(ended)), |(mut stepped, ended)| async move {
        let mut ended = ended?;
        let (line, rest) = tokio::select! {
            biased;
            Some((what, done, of)) = stepped.recv() => {
                (line(&api::Progress::<T>::Step { what, done, of }), Some(ended))
            }
            told = &mut ended => (line(&last(told)), None),
        };
        Some((Ok::<_, Infallible>(line), (stepped, rest)))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

fn last<T: Schema>(
    told: Result<Result<T, Problem>, tokio::sync::oneshot::error::RecvError>,
) -> api::Progress<api::Answer<T>> {
    match told {
        Ok(Ok(result)) => api::Progress::Done { result: result.answer() },
        Ok(Err(problem)) => api::Progress::Failed { problem },
        Err(_panic) => api::Progress::Failed {
            problem: Problem::new(500, "bug", "This is a defect of packetboat", "the work panicked"),
        },
    }
}

fn line<T: Serialize>(progress: &T) -> Bytes {
    let mut line = serde_json::to_vec(progress).unwrap_or_default();
    line.push(b'\n');
    Bytes::from(line)
}
