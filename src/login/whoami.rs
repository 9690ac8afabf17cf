//! Who the caller is here, and until when. Never a token, nor anything it could be guessed from.

use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use serde::Serialize;

use super::presented::Found;
use super::refuse::{self, Refusal};
use super::visit::Visit;
use super::{Login, WHO_AM_I, method_not_allowed};
use crate::identity::{Identity, VerifyError};
use crate::pages::{self, sign_in_link};
use crate::reply::Reply;
use crate::time::UnixTime;

/// 9999-12-31T23:59:59Z, the last moment that RFC 3339 can write.
const LAST_MOMENT: u64 = 253_402_300_799;

#[derive(Serialize)]
struct Document<'a> {
    email: &'a str,
    subject: Option<&'a str>,
    hosted_domain: Option<&'a str>,
    service_account: bool,
    expires: &'a str,
    expires_in: u64,
}

impl Login {
    /// `/whoami`
    pub(super) async fn who_am_i(&self, visit: &Visit<'_>, now: UnixTime) -> Reply {
        if !visit.reads() {
            return method_not_allowed(visit, "GET, HEAD");
        }
        let refusal = match self.by_cookie_or_bearer(visit, now).await {
            Found::Good(identity) => return tell(visit, &identity, now),
            Found::Ambiguous => return refuse::answer(visit, &Refusal::AMBIGUOUS, Some(refuse::SIGN_OUT)),
            Found::Bad(error @ (VerifyError::Unavailable(_) | VerifyError::Throttled)) => {
                return refuse::answer(visit, &Refusal::from(&error), None);
            }
            Found::Bad(error) => Refusal::from(&error),
            Found::Nothing => Refusal::NO_CREDENTIAL,
        };
        if visit.is_person() && visit.is_navigation() {
            return self.begin(visit, now);
        }
        refuse::answer(visit, &refusal, None)
    }
}

fn tell(visit: &Visit<'_>, identity: &Identity, now: UnixTime) -> Reply {
    let expires = rfc3339(identity.expires);
    let (email, subject, hosted_domain) =
        (&*identity.email, identity.subject.as_deref(), identity.hosted_domain.as_deref());
    let service_account = identity.service_account;
    let expires_in = identity.expires.since(now).as_secs();
    if !visit.is_person() {
        let document =
            Document { email, subject, hosted_domain, service_account, expires: &expires, expires_in };
        return Reply::json(StatusCode::OK, &document);
    }
    let until = until(&expires, expires_in);
    let another = sign_in_link(WHO_AM_I, true);
    pages::who_am_i(&pages::WhoAmI {
        email,
        subject,
        hosted_domain,
        service_account,
        expires: &expires,
        until: &until,
        another: &another,
    })
}

fn rfc3339(time: UnixTime) -> String {
    let since = Duration::from_secs(time.0.min(LAST_MOMENT));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

/// `2026-11-23T14:05:00Z` with 2580 seconds left reads `14:05 UTC, in 43 minutes`.
fn until(expires: &str, left: u64) -> String {
    let clock = expires.get(11..16).unwrap_or_default();
    match left / 60 {
        0 => format!("{clock} UTC, in less than a minute"),
        1 => format!("{clock} UTC, in one minute"),
        minutes @ 2..120 => format!("{clock} UTC, in {minutes} minutes"),
        minutes => format!("{clock} UTC, in {} hours", minutes / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_both_kinds_of_reader() {
        assert_eq!(rfc3339(UnixTime(1_795_000_000)), "2026-11-18T11:06:40Z");
        assert_eq!(rfc3339(UnixTime(u64::MAX)), "9999-12-31T23:59:59Z");
        let at = "2026-11-18T11:06:40Z";
        assert_eq!(until(at, 59), "11:06 UTC, in less than a minute");
        assert_eq!(until(at, 119), "11:06 UTC, in one minute");
        assert_eq!(until(at, 3599), "11:06 UTC, in 59 minutes");
        assert_eq!(until(at, 86_400), "11:06 UTC, in 24 hours");
    }
}
