//! What sign-in needs to know of a request, and the questions it asks of it.

use std::net::IpAddr;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A request, as far as sign-in looks at it. It borrows, and holds tokens: hence no `Debug`.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// Method.
    pub method: &'a Method,
    /// Canonical path, percent-encoded as it stands in a URL.
    pub path: &'a str,
    /// Query as it was sent, without the question mark.
    pub query: Option<&'a str>,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The whole body, already read and limited to 64 KiB.
    pub body: &'a [u8],
    /// How the caller names us, such as `https://gw.example.com`: no path, no trailing slash.
    pub origin: &'a str,
    /// The caller's address.
    pub client: IpAddr,
    /// Id of this request in the log.
    pub request_id: &'a str,
}

/// The fields of a form or query that sign-in knows, each at most once.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `application/x-www-form-urlencoded`.
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of a field. Nothing when it is empty, absent or given more than once: OAuth allows no parameter
    /// twice (RFC 6749, section 3.1), and no two readers agree on which of them counts.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(candidate, _)| candidate == name);
        let (_, value) = found.next()?;
        if found.next().is_some() || value.is_empty() {
            return None;
        }
        Some(value)
    }

    /// Whether a field is there at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(candidate, _)| candidate == name)
    }
}

impl<'a> Visit<'a> {
    /// GET, or HEAD, which is answered alike.
    pub(super) fn reads(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// Whether a browser opens a page with this request, as opposed to a script or an image that asks for something.
    /// Without Fetch Metadata (a W3C draft that older browsers lack) the method has to do.
    pub(super) fn is_navigation(&self) -> bool {
        self.reads() && self.text(&FETCH_MODE).is_none_or(|mode| mode == "navigate")
    }

    /// Whether somebody looks at the answer, rather than a program.
    pub(super) fn is_person(&self) -> bool {
        self.text(&FETCH_MODE) == Some("navigate")
            || self.headers.get_all(ACCEPT).iter().any(|accept| {
                accept.to_str().is_ok_and(|ranges| ranges.to_ascii_lowercase().contains("text/html"))
            })
    }

    /// Whether a page of ours sent this, as far as the browser tells. A cross-site form always carries `Origin`; where
    /// neither header is there, no browser of this decade did it.
    ///
    /// Our pages say `Referrer-Policy: no-referrer`, upon which browsers send `Origin: null` with their forms (Fetch,
    /// "append a request Origin header"). That is believed only together with `Sec-Fetch-Site: same-origin`, which
    /// no script can set.
    pub(super) fn is_same_origin(&self) -> bool {
        let site = self.headers.get(FETCH_SITE).map(|value| value.as_bytes() == b"same-origin");
        let origin = self.headers.get(ORIGIN).map(http::HeaderValue::as_bytes);
        if self.headers.get_all(FETCH_SITE).iter().count() > 1
            || self.headers.get_all(ORIGIN).iter().count() > 1
        {
            return false;
        }
        match (site, origin) {
            (Some(false), _) => false,
            (Some(true), Some(origin)) => origin == b"null" || origin == self.origin.as_bytes(),
            (None, Some(origin)) => origin == self.origin.as_bytes(),
            (Some(true) | None, None) => true,
        }
    }

    /// The form in the body, when there is one.
    pub(super) fn form(&self) -> Option<Fields> {
        let essence = self.text(&CONTENT_TYPE)?.split(';').next()?.trim();
        let is_form = essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        is_form.then(|| Fields::parse(self.body))
    }

    /// The query's fields.
    pub(super) fn fields(&self) -> Fields {
        Fields::parse(self.query.unwrap_or_default().as_bytes())
    }

    /// The path with the query, to come back to.
    pub(super) fn target(&self) -> String {
        match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        }
    }

    /// The host that the caller addressed.
    pub(super) fn site(&self) -> &'a str {
        self.origin.split_once("://").map_or(self.origin, |(_, host)| host)
    }

    /// All `Authorization` headers of the bearer scheme (RFC 6750, section 2.1), and whether there is one at most.
    pub(super) fn bearer(&self) -> Result<Option<&'a str>, Ambiguous> {
        let mut lines = self.headers.get_all(AUTHORIZATION).iter();
        let Some(line) = lines.next() else { return Ok(None) };
        if lines.next().is_some() {
            return Err(Ambiguous);
        }
        let Some((scheme, token)) = line.to_str().ok().and_then(|line| line.split_once(' ')) else {
            return Ok(None);
        };
        Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
    }

    fn text(&self, name: &HeaderName) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// There are several credentials of one kind. None of them is picked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;
