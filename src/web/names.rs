//! Names in a request's path, decoded; what cannot be decoded is a problem with words like every other.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Refusal;
use crate::api::Problem;

/// The names of the route, in its order.
#[derive(Debug)]
pub(crate) struct Names<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(names)| Self(names)).map_err(|error| {
            Refusal(Problem::new(400, "usage", "The path is not what this route takes", error.body_text()))
        })
    }
}
