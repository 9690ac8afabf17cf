//! Where an entry goes: the upstream's origin comes from the configuration, and the entry's path must be one that its
//! location leads to.

use thiserror::Error;
use url::Url;

use crate::config::{Location, LocationPath, Upstream};

/// Why a path is none of the location's. Nothing of it is repeated: an entry may hold anything.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unfit {
    /// It is outside of what the location leads to.
    #[error("its path does not belong to the location")]
    Elsewhere,
    /// It would reach the upstream as another one.
    #[error("its path or query cannot be sent as it is")]
    Changed,
}

/// The URL at the upstream. Path and query reach it byte for byte, but for `'` in a query, which goes out as `%27`.
pub fn target(
    location: &Location,
    upstream: &Upstream,
    path: &str,
    query: Option<&str>,
) -> Result<Url, Unfit> {
    if !belongs(location, path) {
        return Err(Unfit::Elsewhere);
    }
    let mut url = upstream.url.clone();
    let origin = url.origin();
    url.set_path(path);
    url.set_query(query);
    let same_query = match (url.query(), query) {
        (None, None) => true,
        (Some(sent), Some(meant)) => sent == meant || sent == meant.replace('\'', "%27"),
        (None, Some(_)) | (Some(_), None) => false,
    };
    if url.origin() != origin || url.path() != path || !same_query {
        return Err(Unfit::Changed);
    }
    Ok(url)
}

/// Whether a path at the upstream is one that the location leads to: at or below its `rewrite`, or its own path.
fn belongs(location: &Location, path: &str) -> bool {
    let (exact, prefix) = match (&location.path, &location.rewrite) {
        (LocationPath::Exact(_), Some(rewrite)) => (true, rewrite.as_str()),
        (LocationPath::Exact(path), None) => (true, path.as_str()),
        (LocationPath::Prefix(_), Some(rewrite)) => (false, rewrite.as_str()),
        (LocationPath::Prefix(path), None) => (false, path.as_str()),
    };
    let decoded: String = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    let decoded_prefix = percent_encoding::percent_decode_str(prefix).decode_utf8_lossy();
    let dots = |segment: &str| segment == "." || segment == "..";
    if !path.starts_with('/') || decoded.contains('\\') || decoded.split(['/', ';']).any(dots) {
        return false;
    }
    let bare = decoded_prefix.strip_suffix('/').unwrap_or(&decoded_prefix);
    match decoded.strip_prefix(bare) {
        Some("") => true,
        Some(rest) => !exact && rest.starts_with('/') || exact && decoded == *decoded_prefix,
        None => false,
    }
}
