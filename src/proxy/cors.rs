//! Preflights that go to the upstream, and answers of the upstream that pages of other origins may read.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::{Context, Proxy};
use crate::gate::cors::permission;
use crate::trace::{CLOUD_TRACE, TRACEPARENT, TRACESTATE};

/// All that an upstream sees of a preflight besides what the gateway adds.
const PREFLIGHT: [HeaderName; 7] = [
    ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD,
    CLOUD_TRACE,
    ORIGIN,
    TRACEPARENT,
    TRACESTATE,
    USER_AGENT,
];

/// Leaves what makes a preflight. Nobody was verified, and the upstream sees a token of ours: what else the caller wrote
/// (a cookie, a method in `X-HTTP-Method-Override`) must not ride along.
pub(super) fn keep_preflight(headers: &mut HeaderMap) {
    let others: Vec<HeaderName> = headers.keys().filter(|name| !PREFLIGHT.contains(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
}

impl Proxy {
    /// Lets pages of allowed origins read the upstream's answer, unless the upstream says itself who may.
    pub(super) fn permit_pages(
        session: &Session,
        response: &mut ResponseHeader,
        ctx: &Context,
    ) -> Result<()> {
        let location = ctx.permit.as_ref().filter(|permit| !permit.is_preflight());
        let location = location.and_then(|permit| ctx.edition.gate.location(permit.location()));
        let Some(cors) = location.and_then(|location| location.cors.as_ref()) else { return Ok(()) };
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let own = response.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
        if !own {
            response.remove_header(&ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
        let varies = response.headers.get_all(VARY).iter().any(names_origin);
        for (name, value) in permission(cors, &session.req_header().headers) {
            if if name == VARY { !varies } else { !own } {
                response.append_header(name, value)?;
            }
        }
        Ok(())
    }
}

/// Whether a `Vary` says that the answer depends on the origin.
fn names_origin(vary: &HeaderValue) -> bool {
    let mut names = vary.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}
