//! Step *route*: which location takes a request.
//!
//! Locations of the request's host come before those without a host. Among them the longest path wins, an
//! exact path before a prefix. A method that the winner does not take is refused; it does not fall through
//! to a shorter path, whose rule might be laxer.

use std::collections::HashMap;

use http::Method;

use crate::config::{Location, LocationPath};

/// Index into the configuration's locations. What was decided for this id is what is forwarded under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocationId(pub(crate) usize);

/// Finds the location of a request. Built once from the configuration.
#[derive(Debug, Default)]
pub struct Router {
    by_host: HashMap<Box<str>, Paths>,
    any_host: Paths,
}

/// What routing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// This location takes it.
    Found(LocationId),
    /// The path belongs to locations that do not take the method; these are theirs.
    WrongMethod(&'a [Candidate]),
    /// No location has this path.
    NotFound,
}

/// A location at a path, with the methods it takes (all when empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    id: LocationId,
    methods: Vec<Method>,
}

#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<str>, Vec<Candidate>>,
    prefix: HashMap<Box<str>, Vec<Candidate>>,
    /// Length of the longest prefix.
    longest: usize,
}

impl Router {
    /// Builds the tables.
    pub fn new(locations: &[Location]) -> Self {
        let mut router = Self::default();
        for (index, location) in locations.iter().enumerate() {
            let paths = match &location.host {
                Some(host) => router.by_host.entry(host.as_str().into()).or_default(),
                None => &mut router.any_host,
            };
            let (table, path) = match &location.path {
                LocationPath::Exact(path) => (&mut paths.exact, path),
                LocationPath::Prefix(path) => {
                    paths.longest = paths.longest.max(path.len());
                    (&mut paths.prefix, path)
                }
            };
            let candidate = Candidate { id: LocationId(index), methods: location.methods.clone() };
            let candidates = table.entry(path.as_str().into()).or_default();
            candidates.push(candidate);
            // A location that names methods is asked before one that takes all.
            candidates.sort_by_key(|candidate| candidate.methods.is_empty());
        }
        router
    }

    /// Whether any location depends on the host; if not, the host name need not be looked at.
    pub fn uses_hosts(&self) -> bool {
        !self.by_host.is_empty()
    }

    /// The location of a decoded path. `host` is a bare lower-case name.
    pub fn route(&self, host: &str, path: &str, method: &Method) -> Route<'_> {
        let own = if self.uses_hosts() { self.by_host.get(host) } else { None };
        let candidates = own.and_then(|paths| paths.find(path)).or_else(|| self.any_host.find(path));
        let Some(candidates) = candidates else { return Route::NotFound };
        match candidates.iter().find(|candidate| takes(&candidate.methods, method)) {
            Some(candidate) => Route::Found(candidate.id),
            None => Route::WrongMethod(candidates),
        }
    }
}

/// Whether a location with these methods (all when empty) takes this one.
pub(super) fn takes(methods: &[Method], method: &Method) -> bool {
    // A server that answers GET answers HEAD (RFC 9110, section 9.3.2).
    methods.is_empty()
        || methods.contains(method)
        || (*method == Method::HEAD && methods.contains(&Method::GET))
}

/// The methods of all candidates, for `Allow`.
pub fn allowed_methods(candidates: &[Candidate]) -> String {
    let mut names: Vec<&str> =
        candidates.iter().flat_map(|candidate| candidate.methods.iter().map(Method::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

impl Paths {
    /// Tries the path itself, then each shorter prefix that ends at a segment boundary. Prefixes longer than any
    /// that is configured are passed over: hashing each of them would be quadratic in what the caller sent.
    fn find(&self, path: &str) -> Option<&[Candidate]> {
        if let Some(candidates) = self.exact.get(path).or_else(|| self.prefix.get(path)) {
            return Some(candidates);
        }
        let mut end = path.floor_char_boundary(self.longest + 1);
        while let Some(slash) = path.get(..end)?.rfind('/') {
            let with_slash = path.get(..=slash).filter(|prefix| prefix.len() < path.len());
            let without = path.get(..slash).filter(|prefix| !prefix.is_empty());
            for prefix in [with_slash, without].into_iter().flatten() {
                if let Some(candidates) = self.prefix.get(prefix) {
                    return Some(candidates);
                }
            }
            end = slash;
        }
        None
    }
}

/// The target to forward: the matched part of the path replaced as the location says, the rest and the query
/// as they were sent.
pub fn rewrite(location: &Location, raw_path: &str, query: Option<&str>) -> Option<String> {
    let replacement = location.rewrite.as_deref()?;
    let rest = match &location.path {
        LocationPath::Exact(_) => "",
        LocationPath::Prefix(prefix) => after_decoded(raw_path, prefix.len()),
    };
    let mut target = replacement.to_owned();
    match (target.ends_with('/'), rest.strip_prefix('/')) {
        (true, Some(rest)) => target.push_str(rest),
        (false, None) if !rest.is_empty() => {
            target.push('/');
            target.push_str(rest);
        }
        (true, None) | (false, Some(_) | None) => target.push_str(rest),
    }
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    Some(target)
}

/// What follows the first `decoded_len` bytes of the decoded path, in its raw form.
fn after_decoded(raw: &str, decoded_len: usize) -> &str {
    let bytes = raw.as_bytes();
    let mut at = 0;
    for _ in 0..decoded_len {
        at += if bytes.get(at) == Some(&b'%') { 3 } else { 1 };
    }
    raw.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
