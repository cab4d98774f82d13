//! Where messages may go: https anywhere, plain http where the name or address says that it does not leave the site's own network.

use std::net::IpAddr;

use hyper::Uri;
use protocol::limits::WEBHOOK_URL_BYTES_MAX;

/// Why a URL cannot be a webhook's. It is not repeated: it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTarget {
    #[error("the URL is longer than {WEBHOOK_URL_BYTES_MAX} bytes")]
    Long,
    #[error("the URL does not read: give http://HOST/PATH or https://HOST/PATH")]
    Unreadable,
    #[error("the URL begins with {scheme:?}: only http and https can be called")]
    Scheme { scheme: String },
    #[error(
        "the URL holds a user or password, which every list would show: the signature tells the receiver who calls"
    )]
    Credentials,
    #[error(
        "{host} may be anywhere, and plain http is read by everybody on the way: use https, or say --plain-http"
    )]
    Plain { host: String },
}

/// Reads a URL. `plain_http`: http is allowed wherever it leads.
pub(crate) fn target(text: &str, plain_http: bool) -> Result<Uri, BadTarget> {
    if text.len() > WEBHOOK_URL_BYTES_MAX {
        return Err(BadTarget::Long);
    }
    let uri: Uri = text.parse().map_err(|_says_little| BadTarget::Unreadable)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(BadTarget::Unreadable);
    };
    if !["http", "https"].contains(&scheme) {
        return Err(BadTarget::Scheme { scheme: scheme.to_owned() });
    }
    if authority.as_str().contains('@') {
        return Err(BadTarget::Credentials);
    }
    let host = authority.host();
    if scheme == "http" && !plain_http && !is_near(host) {
        return Err(BadTarget::Plain { host: host.to_owned() });
    }
    Ok(uri)
}

/// Whether a host is this machine or one of a private network, as far as its name or address tells.
fn is_near(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_a_name) => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            let ends = [".localhost", ".local", ".internal", ".home.arpa"];
            !name.contains('.') || ends.iter().any(|end| name.ends_with(end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_goes_anywhere_and_plain_http_stays_near() {
        for near in [
            "http://127.0.0.1:9/x",
            "http://[::1]/",
            "http://10.1.2.3/",
            "http://192.168.0.9",
            "http://[fd00::7]:80/a",
            "http://localhost/a",
            "http://chat/",
            "http://ci.internal/hook?x=1",
            "https://example.com/hook",
            "https://8.8.8.8/",
        ] {
            assert!(target(near, false).is_ok(), "{near}");
        }
        for far in ["http://example.com/", "http://8.8.8.8/", "http://[2001:db8::1]/", "http://172.32.0.1/"] {
            assert!(matches!(target(far, false), Err(BadTarget::Plain { .. })), "{far}");
            assert!(target(far, true).is_ok(), "{far}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_receiver_is_refused_and_not_repeated() {
        let refused = |text: &str| target(text, true).unwrap_err();
        assert_eq!(refused("/only/a/path"), BadTarget::Unreadable);
        assert_eq!(refused("not a url"), BadTarget::Unreadable);
        assert_eq!(refused("ftp://host/x"), BadTarget::Scheme { scheme: "ftp".to_owned() });
        assert_eq!(refused(&format!("https://host/{}", "a".repeat(WEBHOOK_URL_BYTES_MAX))), BadTarget::Long);
        let told = refused("https://me:hunter2@host/x").to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
