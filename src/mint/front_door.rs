//! Whether our token was refused: Cloud Run's front end, not the service behind it, says no.

use http::header::{CONTENT_TYPE, SERVER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, StatusCode};

/// Whether this is the answer of Cloud Run's front end to a token that it does not accept. The front end marks the
/// service's own answers with a trace, and its own not.
pub fn is_front_door_refusal(status: StatusCode, headers: &HeaderMap) -> bool {
    let text =
        |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match status {
        StatusCode::UNAUTHORIZED => {
            text(&WWW_AUTHENTICATE).contains("error_description=\"The access token could not be verified\"")
        }
        StatusCode::FORBIDDEN => {
            text(&SERVER) == "Google Frontend"
                && text(&CONTENT_TYPE).starts_with("text/html")
                && !headers.contains_key("x-cloud-trace-context")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, headers: &[(&'static str, &str)]) -> bool {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        is_front_door_refusal(StatusCode::from_u16(status).unwrap(), &pairs.collect())
    }

    #[test]
    fn only_cloud_run_s_front_door_refuses_our_token() {
        let challenge =
            "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"";
        let front = ("server", "Google Frontend");
        let html = ("content-type", "text/html; charset=UTF-8");
        assert!(refused(401, &[("www-authenticate", challenge)]));
        assert!(refused(403, &[front, html]));
        assert!(!refused(401, &[("www-authenticate", "Bearer")]));
        assert!(!refused(401, &[front, html]));
        assert!(!refused(403, &[html]));
        assert!(!refused(403, &[front, ("content-type", "application/json")]));
        assert!(!refused(403, &[front, html, ("x-cloud-trace-context", "1/2")]));
        assert!(!refused(200, &[("www-authenticate", challenge), front, html]));
    }
}
