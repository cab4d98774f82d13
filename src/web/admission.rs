//! Who calls: which door, which token, and what that lets them do.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::Response;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::IntoResponse;
use data_encoding::BASE64;

use super::{Refusal, Served};
use crate::api::{Problem, Token};
use crate::node::Node;

/// The door a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The socket in the data folder: whoever can open it owns the folder.
    Socket,
    Tcp,
}

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Everything is allowed.
    Owner,
    Holder(Token),
    /// No token, or none that is known here.
    Stranger {
        presented: bool,
    },
    /// With a token of which this site cannot tell whether it knows it.
    Unread(Problem),
}

impl FromRequestParts<Served> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Self::Rejection> {
        if served.door == Door::Socket {
            return Ok(Self::Owner);
        }
        let presented =
            parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(token_in);
        Ok(match presented {
            None => Self::Stranger { presented: false },
            Some(token) => match served.node.check_token(&token).await {
                Ok(Some(token)) => Self::Holder(token),
                Ok(None) => Self::Stranger { presented: true },
                Err(problem) => Self::Unread(problem),
            },
        })
    }
}

/// The token in an Authorization header: Basic with any user, Bearer, or bare, as the clients of the several kinds send it.
fn token_in(header: &str) -> Option<String> {
    let header = header.trim();
    let (scheme, rest) = header.split_once(' ').unwrap_or(("", header));
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let decoded = String::from_utf8(BASE64.decode(rest.trim().as_bytes()).ok()?).ok()?;
            decoded.split_once(':').map(|(_user, password)| password.to_owned())
        }
        "bearer" => Some(rest.trim().to_owned()),
        "" if !rest.is_empty() => Some(rest.to_owned()),
        _ => None,
    }
}

fn unauthorized(presented: bool) -> Refusal {
    let detail = if presented { "the token is not known here, or was revoked" } else { "no token was given" };
    Refusal(Problem::new(401, "refused", "A token is needed", detail).hint(
        "make one with `packetboat token create`, and give it as the password of HTTP Basic or as Bearer",
    ))
}

fn forbidden(detail: String) -> Refusal {
    Refusal(Problem::new(403, "refused", "The token does not allow that", detail))
}

impl Caller {
    /// Refuses a caller whose token was revoked since it was let in.
    pub(super) async fn is_known_still(&self, node: &Node) -> Result<(), Refusal> {
        match self {
            Self::Holder(token) if !node.has_token(&token.id).await? => Err(unauthorized(true)),
            Self::Owner | Self::Holder(_) | Self::Stranger { .. } | Self::Unread(_) => Ok(()),
        }
    }

    /// Whether the caller may use the whole API.
    fn administers(&self) -> Result<(), Refusal> {
        match self {
            Self::Owner => Ok(()),
            Self::Holder(token) if token.admin => Ok(()),
            Self::Holder(token) => Err(forbidden(format!("token {} is not an admin token", token.id))),
            Self::Stranger { presented } => Err(unauthorized(*presented)),
            Self::Unread(problem) => Err(Refusal(problem.clone())),
        }
    }
}

/// Lets a request through whose caller may use the whole API. The handler is told who it is.
pub(super) async fn administered(caller: Caller, mut request: Request, next: Next) -> Response<Body> {
    match caller.administers() {
        Ok(()) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Whether a token is good for the feed that has this name now: a token is for the feed that had it when the token was made.
async fn good_for(served: &Served, token: &Token, feed: &str) -> Result<bool, Refusal> {
    if token.admin || token.feeds.is_empty() {
        return Ok(true);
    }
    Ok(served.node.feed_id(feed).await?.is_some_and(|id| token.feed_ids.contains(&id)))
}

/// Whether the caller may read a feed.
pub(crate) async fn may_read(served: &Served, caller: &Caller, feed: &str) -> Result<(), Refusal> {
    match caller {
        Caller::Owner => Ok(()),
        Caller::Holder(token) if good_for(served, token, feed).await? => Ok(()),
        Caller::Holder(_) | Caller::Stranger { .. } | Caller::Unread(_)
            if served.node.reads_open(feed).await =>
        {
            Ok(())
        }
        Caller::Holder(token) => Err(forbidden(format!("token {} is not for feed {feed:?}", token.id))),
        Caller::Stranger { presented } => Err(unauthorized(*presented)),
        Caller::Unread(problem) => Err(Refusal(problem.clone())),
    }
}

/// Whether the caller may publish and delete in a feed. Who asks again after a while is told by then: a token may be revoked meanwhile.
pub(crate) async fn may_write(served: &Served, caller: &Caller, feed: &str) -> Result<(), Refusal> {
    caller.is_known_still(&served.node).await?;
    match caller {
        Caller::Owner => Ok(()),
        Caller::Holder(token) if (token.write || token.admin) && good_for(served, token, feed).await? => {
            Ok(())
        }
        Caller::Holder(token) => {
            Err(forbidden(format!("token {} does not write in feed {feed:?}", token.id)))
        }
        Caller::Stranger { presented } => Err(unauthorized(*presented)),
        Caller::Unread(problem) => Err(Refusal(problem.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_however_the_client_spells_it() {
        for (header, token) in [
            ("Bearer pbt_a", Some("pbt_a")),
            ("bearer  pbt_a ", Some("pbt_a")),
            ("pbt_a", Some("pbt_a")),
            ("Basic eDpwYnRfYQ==", Some("pbt_a")),
            ("Basic X190b2tlbl9fOnBidF9h", Some("pbt_a")),
            ("Basic !!", None),
            ("Digest x", None),
            ("", None),
        ] {
            assert_eq!(token_in(header).as_deref(), token, "{header:?}");
        }
    }
}
