//! Where Google sends the browser back (RFC 6749, section 4.2.2).
//!
//! With access tokens the answer is in the fragment, which no server sees: the page at this address reads it and hands
//! it over to `/session`. With ID tokens Google has the browser post it here.

use super::return_path::ReturnPath;
use super::start::Reason;
use super::visit::Visit;
use super::{Login, method_not_allowed, refuse};
use crate::config::Flow;
use crate::pages;
use crate::reply::Reply;
use crate::time::UnixTime;

impl Login {
    /// `/callback`
    pub(super) async fn callback(&self, visit: &Visit<'_>, now: UnixTime) -> Reply {
        let posted = visit.method == http::Method::POST;
        match self.flow {
            Flow::AccessToken if visit.reads() => pages::callback(),
            Flow::AccessToken => method_not_allowed(visit, "GET, HEAD"),
            // Somebody came here by the history or a bookmark.
            Flow::IdToken if visit.reads() => self.button(visit, Reason::Asked, &ReturnPath::root()),
            Flow::IdToken if posted => match visit.form() {
                Some(form) => self.finish(visit, &form, now).await,
                None => refuse::answer(visit, &refuse::Refusal::NOT_A_FORM, None),
            },
            Flow::IdToken => method_not_allowed(visit, "GET, HEAD, POST"),
        }
    }
}
