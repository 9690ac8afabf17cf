//! Requests that end here: the gateway's own endpoints, all under one reserved prefix. Nothing below it ever
//! reaches an upstream.

use http::StatusCode;
use serde::Serialize;

use crate::config::RESERVED_PREFIX;
use crate::login;
use crate::reply::Reply;

/// Largest body that an endpoint of ours takes; a token and its companions need a fraction of it.
pub const MAX_BODY: u64 = 64 * 1024;

/// An endpoint of the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Whether the gateway is ready.
    Health,
    /// Where Pub/Sub pushes entries of the write-ahead log back.
    Playback,
    /// Part of sign-in.
    Login(login::Endpoint),
    /// The prefix with something unknown behind it.
    Unknown,
}

impl Own {
    /// The endpoint at a decoded path, if the path is below the prefix.
    pub fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix(RESERVED_PREFIX)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Some(match rest {
            "/health" => Self::Health,
            "/playback" => Self::Playback,
            _ => login::Endpoint::of(path).map_or(Self::Unknown, Self::Login),
        })
    }
}

/// 200 once requests are served, 503 while the process stops.
pub fn health(stopping: bool) -> Reply {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
    }
    if stopping {
        Reply::json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "stopping" })
    } else {
        Reply::json(StatusCode::OK, &Health { status: "ok" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reserved_prefix_is_ours() {
        assert_eq!(Own::of("/.portcullis/health"), Some(Own::Health));
        assert_eq!(Own::of("/.portcullis/playback"), Some(Own::Playback));
        assert_eq!(Own::of("/.portcullis/login"), Some(Own::Login(login::Endpoint::Login)));
        for unknown in ["/.portcullis", "/.portcullis/", "/.portcullis/health/", "/.portcullis/x"] {
            assert_eq!(Own::of(unknown), Some(Own::Unknown), "{unknown}");
        }
        for foreign in ["/", "/login", "/healthz", "/.portcullisx", "/x/.portcullis/health"] {
            assert_eq!(Own::of(foreign), None, "{foreign}");
        }
    }
}
