//! `cors` of a location.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::value::{choice, method, short_duration};
use super::{Resolver, address};
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned, shown};
use crate::config::{Cors, Origins, PreflightBy};

/// Chromium remembers a preflight for two hours at most, Firefox for a day.
const MAX_AGE: Duration = Duration::from_mins(10);
/// What front-end code needs of the gateway's own answers.
const EXPOSED: [&str; 3] = ["X-Request-Id", "WWW-Authenticate", "Retry-After"];

impl Resolver<'_> {
    /// What browsers are told about a location that takes these methods (all when empty). `reads` says whether the
    /// gateway reads bodies there itself.
    pub(super) fn cors(&mut self, file: &mirror::Location, taken: &[Method], reads: bool) -> Option<Cors> {
        let Spanned { value: section, place } = file.cors.as_ref()?;
        if file.access.as_ref().is_some_and(|access| access.value == "webhook") {
            let fault = Fault::new("has no effect with `access: webhook`, whose senders are no browsers");
            self.refuse(place, fault.help("leave `cors` out"));
        }
        if section.origins.is_none() {
            self.missing(
                place,
                "origins",
                "list the sites whose pages may call: `[https://app.example.com]`",
            );
        }
        let credentials = section.credentials.as_ref().is_some_and(|entry| entry.value);
        let origins = self.origins(section, credentials);
        let methods = self.list(section.methods.as_ref(), method);
        for entry in section.methods.iter().flat_map(|list| &list.value) {
            let known = |method: &Method| method.as_str() == entry.value;
            if !taken.is_empty() && methods.iter().any(known) && !taken.iter().any(known) {
                let fault = Fault::new(format!("the location does not take {}", shown(&entry.value)));
                self.refuse(&entry.place, fault.help("add it to the location's `methods`, or leave it out"));
            }
        }
        let headers = self.list(section.headers.as_ref(), header);
        let exposed = self.list(section.expose.as_ref(), header);
        let words = [("answer", PreflightBy::Gateway), ("pass", PreflightBy::Upstream)];
        let preflight = self.value(section.preflight.as_ref(), choice(&words));
        if let Some(entry) = section.preflight.as_ref().filter(|_| reads)
            && preflight == Some(PreflightBy::Upstream)
        {
            let fault = Fault::new("the gateway takes the requests of this location itself");
            self.refuse(&entry.place, fault.help("write `preflight: answer`, or leave it out"));
        }
        Some(Cors {
            origins: origins?,
            methods,
            headers,
            expose: expose(&exposed)?,
            credentials,
            max_age: self.value(section.max_age.as_ref(), short_duration).unwrap_or(MAX_AGE),
            preflight: preflight.unwrap_or(PreflightBy::Gateway),
        })
    }

    fn origins(&mut self, section: &mirror::Cors, credentials: bool) -> Option<Origins> {
        let list = section.origins.as_ref()?;
        if list.value.is_empty() && !self.blamed(&list.place.key) {
            let help = "list the sites whose pages may call, or leave `cors` out";
            self.refuse(&list.place, Fault::new("is empty").help(help));
        }
        let Some(any) = list.value.iter().find(|entry| entry.value == "*") else {
            return Some(Origins::Listed(self.list(Some(list), address::page_origin)));
        };
        if list.value.len() > 1 {
            let fault = Fault::new("`*` stands beside other origins, which it makes needless");
            self.refuse(&any.place, fault.help("write `['*']`, or only the others"));
        }
        if credentials {
            let fault = Fault::new("would let every page on the web act for whoever looks at it");
            self.refuse(&any.place, fault.help("list the origins, or leave `credentials` out"));
        }
        Some(Origins::Any)
    }
}

/// The name of a header. `*` is none: browsers do not take it for `Authorization`.
fn header(text: &str) -> Result<HeaderName, Fault> {
    let fault = || Fault::new(format!("{} is not the name of a header", shown(text)));
    if text == "*" {
        return Err(fault().help("leave the list out to allow what browsers ask for"));
    }
    text.parse().map_err(|_| fault())
}

fn expose(names: &[HeaderName]) -> Option<HeaderValue> {
    let all: Vec<&str> = EXPOSED.into_iter().chain(names.iter().map(HeaderName::as_str)).collect();
    HeaderValue::try_from(all.join(", ")).ok()
}
