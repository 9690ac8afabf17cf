//! What was asked of the stand-in, so that tests can prove caching and single flight. Never a token.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use http::request::Parts;

use super::switches::Endpoint;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which endpoint it reached; none for the stand-in's own pages.
    pub endpoint: Option<Endpoint>,
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Decoded query parameters; those that carry a token read `[token]`.
    pub query: Vec<(String, String)>,
    /// Names of the headers, lower-case, without values.
    pub headers: Vec<String>,
}

const KEPT: usize = 1000;

#[derive(Default)]
pub(super) struct Calls(Mutex<Record>);

#[derive(Default)]
struct Record {
    counts: HashMap<Endpoint, usize>,
    recent: VecDeque<Call>,
}

impl Calls {
    pub(super) fn add(&self, endpoint: Option<Endpoint>, parts: &Parts) {
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let call = Call {
            endpoint,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: query.map(|(name, value)| (name.to_string(), without_token(&name, &value))).collect(),
            headers: parts.headers.keys().map(ToString::to_string).collect(),
        };
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoint {
            *record.counts.entry(endpoint).or_default() += 1;
        }
        if record.recent.len() == KEPT {
            record.recent.pop_front();
        }
        record.recent.push_back(call);
    }

    pub(super) fn count(&self, endpoint: Endpoint) -> usize {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .counts
            .get(&endpoint)
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn recent(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recent.iter().cloned().collect()
    }
}

/// Parameters named after tokens, and values that look like one wherever they are.
fn without_token(name: &str, value: &str) -> String {
    if name.ends_with("token") || value.contains("ya29.") || value.contains("eyJ") {
        return "[token]".to_owned();
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_recorded() {
        let calls = Calls::default();
        let request = http::Request::get("/tokeninfo?access_token=secret&state=eyJsecret&audience=https://a")
            .header("authorization", "Bearer secret");
        calls.add(Some(Endpoint::Tokeninfo), &request.body(()).unwrap().into_parts().0);
        assert!(!format!("{:?}", calls.recent()).contains("secret"));
        assert_eq!(calls.recent()[0].query[2].1, "https://a");
        assert_eq!(calls.recent()[0].headers, ["authorization"]);
        assert_eq!(calls.count(Endpoint::Tokeninfo), 1);
    }
}
