//! One attempt to deliver one message over HTTP or HTTPS, bounded in time and in what is read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use protocol::limits::{WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_ANSWER_MS_MAX, WEBHOOK_CONNECT_MS_MAX};
use rustls::{ClientConfig, RootCertStore};

use super::secret::Secret;

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("the receiver was not reached: {0}")]
    Unreached(String),
    #[error("the receiver hung up before it answered: {0}")]
    Cut(String),
    #[error("the receiver did not answer within {} s", WEBHOOK_ANSWER_MS_MAX / 1000)]
    Slow,
    #[error("the receiver answered {0}, a redirect, which is not followed: use the URL that it leads to")]
    Redirected(StatusCode),
    #[error("the receiver answered {0}")]
    Refused(StatusCode),
    #[error("the message cannot be written as a request")]
    Unsendable,
}

/// Sends messages. Each takes a connection of its own, so that a receiver that was moved is found at once.
#[derive(Debug, Clone)]
pub(crate) struct Poster {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Poster {
    /// With the certificate authorities that this machine trusts.
    pub(crate) fn new() -> Self {
        Self::with_tls(trusting())
    }

    fn with_tls(tls: ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(Duration::from_millis(WEBHOOK_CONNECT_MS_MAX)));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(WEBHOOK_ANSWER_BYTES_MAX)
            .build(https.wrap_connector(http));
        Self { client }
    }

    /// Sends a message and gives the receiver's status where that says that it has it. Of the answer only the head is read.
    pub(crate) async fn post(
        &self,
        to: &Uri,
        secret: &Secret,
        id: &str,
        now_s: u64,
        body: Bytes,
    ) -> Result<StatusCode, PostError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(to)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("packetboat/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", now_s)
            .header("webhook-signature", secret.sign(id, now_s, &body))
            .body(Full::new(body))
            .map_err(|_of_the_library| PostError::Unsendable)?;
        let within = Duration::from_millis(WEBHOOK_ANSWER_MS_MAX);
        let answer = tokio::time::timeout(within, self.client.request(request));
        let answer = answer.await.map_err(|_elapsed| PostError::Slow)?.map_err(|error| {
            let why = root_cause(&error);
            if error.is_connect() { PostError::Unreached(why) } else { PostError::Cut(why) }
        })?;
        let status = answer.status();
        match status {
            _ if status.is_success() => Ok(status),
            _ if status.is_redirection() => Err(PostError::Redirected(status)),
            _ => Err(PostError::Refused(status)),
        }
    }
}

/// The library's errors wrap each other; the innermost says what happened.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn trusting() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let begun = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the default versions go with the default provider")
    };
    match begun().with_native_roots() {
        Ok(config) => config.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "this machine trusts no certificate authority: no https webhook can be reached");
            begun().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    }
}

#[cfg(test)]
mod tests;
