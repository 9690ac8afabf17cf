//! Locations: which requests they take, who passes, and where they go.

use std::sync::Arc;

use super::value::{choice, host_name, method, size};
use super::{Named, Resolver};
use crate::config::mirror::{self, List};
use crate::config::problem::{Fault, Place, Spanned, cut, shown};
use crate::config::{Access, Allow, AllowEncoded, Flow, Location, LocationPath, RESERVED_PREFIX};

/// What `access` says, before it is known who passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Google,
    Webhook,
}

/// Notes that one form of a path is allowed.
type Permission = fn(&mut AllowEncoded);

/// What all locations share.
struct Shared<'a> {
    named: &'a Named<'a>,
    flow: Flow,
    allow: Option<Arc<Allow>>,
    /// Whether the file says which client is ours, be it wrongly.
    google: bool,
}

impl Resolver<'_> {
    pub(super) fn locations(
        &mut self,
        file: &mirror::File,
        root: &Place,
        flow: Flow,
        named: &Named<'_>,
    ) -> Vec<Location> {
        let allow = file.allow.as_ref().map(|section| self.allow(section, flow));
        let client = file.google.as_ref().is_some_and(|section| section.value.client_id.is_some());
        let google = client || self.blamed("google");
        let shared = Shared { named, flow, allow, google };
        let Some(list) = &file.locations else {
            self.missing(root, "locations", "without a location nothing is let through");
            return Vec::new();
        };
        if list.value.is_empty() && !self.blamed("locations") {
            let fault = Fault::new("is empty");
            self.refuse(&list.place, fault.help("without a location nothing is let through"));
        }
        let resolved: Vec<Option<Location>> =
            list.value.iter().map(|entry| self.location(entry, &shared)).collect();
        self.overlaps(&list.value, &resolved);
        self.same_keys(&list.value, &resolved);
        self.unused(file, &list.value, named);
        resolved.into_iter().flatten().collect()
    }

    fn location(&mut self, entry: &Spanned<mirror::Location>, shared: &Shared<'_>) -> Option<Location> {
        let Spanned { value: file, place } = entry;
        for (name, absent, help) in [
            ("path", file.path.is_none(), "write a prefix such as `/app`, or `= /app` for that path alone"),
            (
                "access",
                file.access.is_none(),
                "write `access: public`, `access: google` or `access: webhook`; there is no default",
            ),
            ("upstream", file.upstream.is_none(), "name one of the `upstreams`"),
        ] {
            if absent {
                self.missing(place, name, help);
            }
        }
        let path = self.value(file.path.as_ref(), location_path);
        let access = self.access(file, shared);
        let upstream =
            file.upstream.as_ref().and_then(|name| self.named_upstream(name, shared.named.upstreams));
        let host = self.value(file.host.as_ref(), host_name);
        let methods = self.list(file.methods.as_ref(), method);
        if let Some(list) = file.methods.as_ref().filter(|list| list.value.is_empty())
            && !self.blamed(&list.place.key)
        {
            self.refuse(&list.place, Fault::new("takes no method").help("leave it out to take all"));
        }
        let rewrite = self.value(file.rewrite.as_ref(), rewrite);
        let max_body = self.value(file.max_body.as_ref(), size);
        let allow_encoded = self.allow_encoded(file.allow_encoded.as_ref());
        let under =
            upstream.and_then(|index| shared.named.upstreams.get(index)?.1.as_ref()).map(|u| u.timeouts);
        let timeouts = self.timeouts(file.timeouts.as_ref(), under.unwrap_or(super::upstream::TIMEOUTS));
        let recorded = self.records(file, shared);
        let reads =
            recorded || file.adapt.is_some() || file.access.as_ref().is_some_and(|it| it.value == "webhook");
        let cors = self.cors(file, &methods, reads);
        let adapt = self.adapter(file.adapt.as_ref());
        let key = path.as_ref().map(|(name, _)| format!("{}{name}", host.as_deref().unwrap_or_default()));
        let store = shared.named.wal.map(|wal| &wal.store);
        let message = self.message(file, key.unwrap_or_default(), store, reads);
        let limits = self.location_limits(file.limits.as_ref(), access.as_ref());
        let (name, path) = path?;
        let (access, upstream) = (access?, upstream?);
        Some(Location {
            name,
            path,
            host,
            methods,
            access,
            rewrite,
            upstream,
            cors,
            timeouts,
            max_body,
            allow_encoded,
            limits,
            adapt,
            message,
        })
    }

    /// Whether requests are kept in the log, and may be.
    fn records(&mut self, file: &mirror::Location, shared: &Shared<'_>) -> bool {
        let Some(entry) = file.wal.as_ref().filter(|entry| entry.value) else { return false };
        if shared.named.wal.is_none() && !self.blamed("wal") {
            let fault = Fault::new("there is no log to keep requests in");
            self.refuse(
                &entry.place,
                fault.help("say under `wal` at the top where it is: `pubsub` or `disk`"),
            );
        }
        if file.access.as_ref().is_some_and(|access| access.value == "public") {
            let fault = Fault::new("would let anybody fill the log and play requests to the upstream");
            self.refuse(&entry.place, fault.help("write `access: webhook` or `access: google`"));
        }
        true
    }

    fn access(&mut self, file: &mirror::Location, shared: &Shared<'_>) -> Option<Access> {
        let own = file.allow.as_ref().map(|section| self.allow(section, shared.flow));
        let sender = file.webhook.as_ref().and_then(|section| self.webhook(section, shared.named.secrets));
        let entry = file.access.as_ref()?;
        let kinds = [("public", Kind::Public), ("google", Kind::Google), ("webhook", Kind::Webhook)];
        let kind = self.value(Some(entry), choice(&kinds))?;
        if let Some(section) = file.webhook.as_ref().filter(|_| kind != Kind::Webhook) {
            let fault = Fault::new("has no effect without `access: webhook`: no signature would be verified");
            self.refuse(&section.place, fault.help("write `access: webhook`, or leave `webhook` out"));
        }
        if let Some(section) = file.allow.as_ref().filter(|_| kind == Kind::Webhook) {
            let fault = Fault::new("has no effect with `access: webhook`, where the signature decides");
            self.refuse(&section.place, fault.help("leave `allow` out"));
        }
        if kind == Kind::Webhook {
            if file.webhook.is_none() {
                let help = "say how the sender signs, such as `webhook: { slack: { secret: slack } }`";
                self.refuse(&entry.place, Fault::new("needs `webhook` beside it").help(help));
            }
            return sender.map(Arc::new).map(Access::Webhook);
        }
        if kind == Kind::Public {
            if let Some(section) = &file.allow {
                let fault = Fault::new("has no effect with `access: public`, which everybody passes");
                self.refuse(&section.place, fault.help("write `access: google`, or leave `allow` out"));
            }
            return Some(Access::Public);
        }
        if !shared.google {
            let fault = Fault::new("`google` needs to know whose tokens to accept");
            self.refuse(&entry.place, fault.help("set `client_id` under `google`"));
        }
        let allow = own.or_else(|| shared.allow.clone());
        if allow.is_none() && !self.blamed("allow") && file.allow.is_none() {
            let fault = Fault::new("admits nobody, since there is no `allow`");
            self.refuse(&entry.place, fault.help("say who passes: `allow` here, or for all locations"));
        }
        allow.map(Access::Google)
    }

    fn allow_encoded(&mut self, list: Option<&Spanned<List<String>>>) -> AllowEncoded {
        let mut allowed = AllowEncoded::default();
        let words: [(&str, Permission); 4] = [
            ("slash", |allowed| allowed.slash = true),
            ("semicolon", |allowed| allowed.semicolon = true),
            ("percent", |allowed| allowed.percent = true),
            ("double_slash", |allowed| allowed.double_slash = true),
        ];
        for allow in self.list(list, choice(&words)) {
            allow(&mut allowed);
        }
        allowed
    }

    /// Notes locations that take requests which an earlier one takes as well.
    fn overlaps(&mut self, entries: &[Spanned<mirror::Location>], resolved: &[Option<Location>]) {
        // Where a host or a method is wrong, it cannot be said what the location would have taken.
        let clear = |entry: &Spanned<mirror::Location>| {
            !["path", "host", "methods"].iter().any(|name| self.blamed(&entry.place.member(name)))
        };
        let known: Vec<_> = entries
            .iter()
            .zip(resolved)
            .filter(|(entry, _)| clear(entry))
            .filter_map(|(entry, it)| Some((entry, it.as_ref()?)))
            .collect();
        for (index, (entry, later)) in known.iter().enumerate() {
            let earlier = known.iter().take(index).find(|(_, earlier)| overlap(earlier, later));
            let Some((earlier, _)) = earlier else { continue };
            let place = entry.value.path.as_ref().map_or(&entry.place, |path| &path.place);
            let first = earlier.value.path.as_ref().map_or(&earlier.place, |path| &path.place);
            let what = format!(
                "lines {} and {} take the same requests: {} is {} once more",
                first.line, place.line, entry.place.key, earlier.place.key
            );
            let fault = Fault::new(what).help("give them different paths, hosts or methods, or remove one");
            self.refuse(place, fault);
        }
    }
}

/// Whether two locations take the same requests, none being more particular than the other.
fn overlap(one: &Location, other: &Location) -> bool {
    let methods = one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|method| other.methods.contains(method));
    one.path == other.path && one.host == other.host && methods
}

/// The name and the path of a location.
fn location_path(text: &str) -> Result<(String, LocationPath), Fault> {
    if let Some(path) = text.strip_prefix('=') {
        let path = canonical(path.trim_start_matches(' '))?;
        return Ok((format!("= {path}"), LocationPath::Exact(path)));
    }
    let path = canonical(text)?;
    Ok((path.clone(), LocationPath::Prefix(path)))
}

/// A path as requests are compared with it: decoded and without anything that could be read in two ways.
fn canonical(path: &str) -> Result<String, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", shown(path)));
    if !path.starts_with('/') {
        let help = if path.contains(['*', '^', '~']) {
            "paths are plain prefixes; there are no patterns".to_owned()
        } else {
            format!("write `/{}`", cut(path))
        };
        return Err(fault("does not begin with `/`").help(help));
    }
    if path.contains('%') {
        return Err(fault("holds a `%`").help("write the path decoded"));
    }
    if path.contains(['?', '#']) {
        return Err(fault("holds a `?` or `#`").help("a location takes a path, whatever the query"));
    }
    if path.contains([';', '\\']) {
        return Err(fault("holds a `;` or `\\`, which no request may bring here"));
    }
    if path.contains('*') {
        return Err(fault("holds a `*`").help("paths are plain prefixes; there are no patterns"));
    }
    if path.chars().any(char::is_control) {
        return Err(fault("holds a control character"));
    }
    segments(path)?;
    let reserved =
        path.strip_prefix(RESERVED_PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if reserved {
        return Err(
            fault("is under the gateway's own prefix").help(format!("`{RESERVED_PREFIX}` is reserved"))
        );
    }
    Ok(path.to_owned())
}

/// Refuses `//` and dot segments.
fn segments(path: &str) -> Result<(), Fault> {
    if path.contains("//") {
        return Err(Fault::new(format!("{} holds `//`", shown(path))));
    }
    let dots =
        |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.split('/').any(dots) {
        return Err(Fault::new(format!("{} holds a `.` or `..` segment", shown(path)))
            .help("write the path that it leads to"));
    }
    Ok(())
}

/// What replaces the matched part: an absolute path (RFC 3986, section 3.3), percent-encoded.
pub(super) fn rewrite(text: &str) -> Result<String, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", shown(text)));
    if !text.starts_with('/') {
        let url = text.contains("://");
        let help = if url {
            "the host comes from the upstream".to_owned()
        } else {
            format!("write `/{}`", cut(text))
        };
        return Err(fault("does not begin with `/`").help(help));
    }
    if text.contains(['?', '#']) {
        return Err(fault("has a query or a fragment").help("the request's own query is kept"));
    }
    segments(text)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&b);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            match (bytes.next(), bytes.next()) {
                (Some(high), Some(low)) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
                _ => {
                    return Err(
                        fault("holds a `%` without two hexadecimal digits").help("a plain `%` is `%25`")
                    );
                }
            }
        } else if !plain(byte) {
            return Err(
                fault("is not percent-encoded").help("a blank is `%20`; other characters are UTF-8, encoded")
            );
        }
    }
    let lower = text.to_ascii_lowercase();
    if ["%2f", "%5c", "%00"].iter().any(|code| lower.contains(code)) {
        return Err(fault("holds an encoded `/`, `\\` or NUL, which two servers may read in two ways"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_prefixes_or_exact() {
        assert_eq!(location_path("/a b/ü").unwrap().1, LocationPath::Prefix("/a b/ü".to_owned()));
        let exact = ("= /x".to_owned(), LocationPath::Exact("/x".to_owned()));
        assert_eq!(location_path("=/x").unwrap(), exact);
        assert_eq!(location_path("=  /x").unwrap(), exact);
        assert!(location_path("/.portcullis2").is_ok());
        assert!(location_path("/...").is_ok());
    }

    #[test]
    fn paths_can_be_read_in_one_way_only() {
        for text in [
            "",
            "x",
            "=",
            "= x",
            "*",
            "/a//b",
            "//",
            "/./",
            "/a/..",
            "/a%20b",
            "/a;b",
            "/a\\b",
            "/a?b",
            "/a#b",
            "/a\nb",
            "/a\u{7f}",
            "/\u{85}",
            "/.portcullis",
            "/.portcullis/login",
            "= /.portcullis/x",
            "/a/*",
            "~ /x",
        ] {
            assert!(location_path(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rewrites_are_encoded_paths() {
        assert!(rewrite("/").is_ok());
        assert!(rewrite("/engine-rest/signal%20x;v=1").is_ok());
        for text in [
            "",
            "x",
            "https://x/",
            "/a?b",
            "/a#b",
            "/a//b",
            "//evil",
            "/../x",
            "/%2E%2e/x",
            "/a b",
            "/ü",
            "/%",
            "/%2",
            "/%zz",
            "/%2f",
            "/%5C",
            "/%00",
            "/a\\b",
            "/a\"b",
        ] {
            assert!(rewrite(text).is_err(), "{text:?}");
        }
    }
}
