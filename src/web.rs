//! The HTTP server: two doors to one router. The socket in the data folder has all rights; the TCP door asks for tokens.

mod admission;
mod answer;
mod api_routes;
mod backup_routes;
mod doctor_routes;
mod doors;
mod event_routes;
mod evict_routes;
mod fork_routes;
mod hold_routes;
mod keeping_routes;
mod key_routes;
pub(crate) mod local;
mod log_routes;
mod merge_routes;
mod names;
mod plan_routes;
mod ruling_routes;
mod sent;
mod space_routes;
mod stall;
mod starting;
mod unread;
mod watch;
mod webhook_routes;

use axum::Router;

pub(crate) use admission::{Caller, Door, may_read, may_write};
pub(crate) use answer::{Refusal, problem_response};
pub(crate) use names::Names;

pub use doors::{DoorError, Doors};

use crate::gateway;
use crate::node::Node;

/// What every handler is given.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) door: Door,
}

/// All routes, as they are behind one door.
pub(crate) fn router(node: Node, door: Door) -> Router {
    let served = Served { node, door };
    Router::new()
        .merge(api_routes::routes(&served))
        .merge(gateway::raw::routes())
        .fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::no_such_method)
        .with_state(served)
        .layer(axum::middleware::from_fn(watch::watched))
}

#[cfg(test)]
mod tests;
