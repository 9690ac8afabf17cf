//! The caller's side: the view of a request, bodies that end here, and the one function that writes replies.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora::Result as PingoraResult;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;
use tokio::sync::OwnedSemaphorePermit;

use super::buffers::Buffer;
use super::{Context, Proxy};
use crate::gate::record::Pending;
use crate::gate::refusal::Refusal;
use crate::gate::request::{
    NotCanonical, Path, RequestView, check_framing, check_query, is_host, split_target,
};
use crate::gate::{Decision, Verdict};
use crate::reply::Reply;
use crate::trace::{REQUEST_ID, Trace};

/// Largest request head: the sum of all names and values, and of the target.
const MAX_HEAD: usize = 64 * 1024;
/// Limit on reading a body that ends here.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for messages, which may be larger.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the rest of a request that was answered already is waited for.
const DRAIN: Duration = Duration::from_secs(5);

impl Proxy {
    /// Steps *admit* to *authorize*. True when the request was answered here.
    pub(super) async fn admit(&self, session: &mut Session, ctx: &mut Context) -> PingoraResult<bool> {
        self.note_origin(session, ctx);
        Self::limit_waiting(session, ctx);
        let decision = match self.verdict(session, ctx).await {
            Ok(verdict) => {
                let over = Self::body_over_limit(session, ctx, &verdict.decision);
                (ctx.location, ctx.step) = (verdict.location, verdict.step);
                ctx.identity = verdict.identity;
                over.map_or(verdict.decision, |limit| Decision::Refuse(Refusal::BodyTooLarge(limit)))
            }
            Err(refusal) => Decision::Refuse(refusal),
        };
        match decision {
            Decision::Forward(permit) => {
                ctx.permit = Some(permit);
                Ok(false)
            }
            Decision::Read(_) => {
                let bug = Refusal::Internal("BUG: the body was not read".to_owned());
                Box::pin(self.refuse(session, ctx, bug)).await.map(|()| true)
            }
            Decision::Answer(mut reply) => {
                ctx.audit = reply.audit.take();
                let reply = ctx.edition.gate.readable(ctx.location, &session.req_header().headers, reply);
                Box::pin(write(session, ctx, reply)).await.map(|()| true)
            }
            Decision::Refuse(refusal) => Box::pin(self.refuse(session, ctx, refusal)).await.map(|()| true),
        }
    }

    /// What the gate says. Requests that end here are read whole before.
    async fn verdict(&self, session: &mut Session, ctx: &Context) -> Result<Verdict, Refusal> {
        let head = view(session, ctx)?;
        ctx.edition.gate.count_address(&head)?;
        let Some(limit) = ctx.edition.gate.own_body_limit(&head) else {
            let verdict = ctx.edition.gate.decide(&head, ctx.now).await;
            return match &verdict.decision {
                // Boxed, like all that is rare: the future of the common case is allocated for each request.
                Decision::Read(pending) => Ok(Box::pin(self.read_and_finish(session, ctx, pending)).await),
                Decision::Forward(_) | Decision::Answer(_) | Decision::Refuse(_) => Ok(verdict),
            };
        };
        let (body, _room) = Box::pin(self.own_body(session, limit, BODY_TIMEOUT)).await?;
        let whole = RequestView { body, ..view(session, ctx)? };
        Ok(Box::pin(ctx.edition.gate.decide(&whole, ctx.now)).await)
    }

    /// Reads a body that the gate asked for, and lets it decide.
    async fn read_and_finish(&self, session: &mut Session, ctx: &Context, pending: &Pending) -> Verdict {
        let body = self.own_body(session, pending.limit, MESSAGE_TIMEOUT).await;
        let whole = body.and_then(|(body, room)| Ok((RequestView { body, ..view(session, ctx)? }, room)));
        match whole {
            Ok((whole, _room)) => ctx.edition.gate.finish(pending, &whole, ctx.now).await,
            Err(refusal) => ctx.edition.gate.refuse_pending(pending, refusal),
        }
    }

    /// Writes the answer to a refusal and remembers it for the log.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        refusal: Refusal,
    ) -> PingoraResult<()> {
        let reply = self.refusal_reply(session, ctx, &refusal);
        ctx.refusal = Some(refusal);
        write(session, ctx, reply).await
    }

    /// The answer to a refusal, also for requests that have no canonical view.
    pub(super) fn refusal_reply(&self, session: &Session, ctx: &Context, refusal: &Refusal) -> Reply {
        let view = view(session, ctx).unwrap_or_else(|_| nowhere(session, ctx));
        let gate = &ctx.edition.gate;
        gate.readable(ctx.location, view.headers, gate.refuse(refusal, &view))
    }

    /// How long the caller may take. Over HTTP/2, where a read has no limit of its own, the upstream's ends a body that
    /// does not come.
    fn limit_waiting(session: &mut Session, ctx: &Context) {
        let limits = &ctx.edition.config.limits;
        session.set_read_timeout(Some(limits.body));
        session.set_write_timeout(Some(limits.write));
        // Only a connection that stays open has one.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(limits.idle.as_secs().max(1)));
        }
    }

    /// Where the request comes from, and its trace.
    fn note_origin(&self, session: &Session, ctx: &mut Context) {
        let headers = &session.req_header().headers;
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        let hops = usize::from(ctx.edition.config.trusted_hops);
        let nth_last = |name: &str| nth_last(headers, name, hops);
        let mut client = peer;
        ctx.https = ctx.edition.config.tls.is_some();
        if hops > 0 {
            let named = nth_last("x-forwarded-for").and_then(|address| parse_address(&address));
            client = named.or(peer);
            // A front end that overwrites the header leaves one entry, one that appends leaves as many as hops.
            let proto = nth_last("x-forwarded-proto").or_else(|| first(headers.get("x-forwarded-proto")));
            ctx.https = proto.map_or(ctx.https, |proto| proto.eq_ignore_ascii_case("https"));
        }
        if let Some(client) = client {
            ctx.client = client.to_canonical();
        }
        let mut trace = Trace::of(headers, ctx.id);
        if ctx.edition.spans.as_ref().is_some_and(|spans| spans.wants(&trace)) {
            trace.record();
        }
        ctx.trace = Some(trace);
    }

    /// A declared length above the location's limit is refused before anything is forwarded, and so is a preflight
    /// with a body.
    fn body_over_limit(session: &mut Session, ctx: &Context, decision: &Decision) -> Option<u64> {
        let Decision::Forward(permit) = decision else { return None };
        if permit.is_preflight() {
            return (!session.is_body_empty()).then_some(0);
        }
        let limit = ctx.edition.gate.location(permit.location())?.max_body?;
        (content_length(session)? > limit).then_some(limit)
    }

    /// The body of a request that ends here, and the room that it takes.
    async fn own_body(
        &self,
        session: &mut Session,
        limit: u64,
        time: Duration,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        if content_length(session).is_some_and(|length| length > limit) {
            return Err(Refusal::BodyTooLarge(limit));
        }
        let body = tokio::time::timeout(time, read_body(session, limit, self.buffers.begin())).await;
        body.unwrap_or(Err(Refusal::BodyTimeout)).map(Buffer::finish)
    }
}

async fn read_body(session: &mut Session, limit: u64, mut body: Buffer) -> Result<Buffer, Refusal> {
    if session.is_body_empty() {
        return Ok(body);
    }
    if session.req_header().headers.contains_key(EXPECT) {
        session.write_continue_response().await.map_err(|_| Refusal::Malformed)?;
    }
    while let Some(piece) = session.read_request_body().await.map_err(|_| Refusal::Malformed)? {
        if body.len() + piece.len() as u64 > limit {
            return Err(Refusal::BodyTooLarge(limit));
        }
        body.push(&piece)?;
    }
    Ok(body)
}

fn content_length(session: &Session) -> Option<u64> {
    session.req_header().headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Step *admit*: the canonical view of a request.
fn view<'a>(session: &'a Session, ctx: &'a Context) -> Result<RequestView<'a>, Refusal> {
    let request = session.req_header();
    let mut size = request.raw_path().len();
    for (name, value) in &request.headers {
        size += name.as_str().len() + value.len();
    }
    if size > MAX_HEAD {
        return Err(Refusal::HeadTooLarge);
    }
    if request.method == Method::TRACE {
        return Err(Refusal::MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned()));
    }
    check_framing(&request.headers)?;
    let host = host(session)?;
    let (raw, query) = split_target(request.raw_path(), host)?;
    check_query(query)?;
    Ok(RequestView { path: Path::parse(raw)?, query, host, ..nowhere(session, ctx) })
}

/// A view without target and host, enough to choose the form of an answer.
fn nowhere<'a>(session: &'a Session, ctx: &'a Context) -> RequestView<'a> {
    let request = session.req_header();
    RequestView {
        method: &request.method,
        path: Path::root(),
        query: None,
        host: "",
        headers: &request.headers,
        client: ctx.client,
        https: ctx.https,
        request_id: ctx.id.as_str(),
        body: Bytes::new(),
    }
}

/// `:authority` of HTTP/2, or the one `Host`.
fn host(session: &Session) -> Result<&str, NotCanonical> {
    let request = session.req_header();
    let mut lines = request.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(NotCanonical::Host);
    }
    let host = match (request.uri.authority(), line) {
        (Some(authority), _) if request.version == Version::HTTP_2 => authority.as_str(),
        (_, Some(line)) => line.to_str().map_err(|_| NotCanonical::Host)?,
        (_, None) => return Ok(""),
    };
    if is_host(host) { Ok(host) } else { Err(NotCanonical::Host) }
}

/// The only function that writes replies.
pub(super) async fn write(session: &mut Session, ctx: &Context, reply: Reply) -> PingoraResult<()> {
    let mut header = ResponseHeader::build(reply.status, Some(reply.headers.len() + 3))?;
    for (name, value) in reply.headers {
        header.append_header(name, value)?;
    }
    header.insert_header(REQUEST_ID, ctx.id_header.clone())?;
    let bodiless = matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless {
        header.insert_header(CONTENT_LENGTH, HeaderValue::from(reply.body.len()))?;
    }
    if reply.close {
        session.set_keepalive(None);
        if !session.is_http2() {
            header.insert_header(CONNECTION, HeaderValue::from_static("close"))?;
        }
    }
    session.set_total_drain_timeout(Some(DRAIN));
    let silent = bodiless || reply.body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), silent).await?;
    if !silent {
        session.write_response_body(Some(reply.body), true).await?;
    }
    Ok(())
}

/// The nth entry from the end of a list header, over all its lines (RFC 9110, section 5.3). The caller wrote the
/// beginning and may have put bytes there that are no text; they must not move the entries that follow.
fn nth_last(headers: &HeaderMap, name: &str, n: usize) -> Option<String> {
    let lines = headers.get_all(name).iter().rev();
    let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    let entry = std::str::from_utf8(entries.nth(n.checked_sub(1)?)?).ok()?;
    Some(entry.trim().to_owned())
}

fn first(value: Option<&HeaderValue>) -> Option<String> {
    value?.to_str().ok()?.split(',').next().map(|entry| entry.trim().to_owned())
}

/// An address, also in the forms `1.2.3.4:567` and `[::1]:567` that some front ends write.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').split(']').next().unwrap_or(text);
    text.parse().ok().or_else(|| bare.parse().ok()).or_else(|| {
        let socket: std::net::SocketAddr = text.parse().ok()?;
        Some(socket.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lines: &[&[u8]]) -> HeaderMap {
        let name = http::HeaderName::from_static("x-forwarded-for");
        lines.iter().map(|line| (name.clone(), HeaderValue::from_bytes(line).unwrap())).collect()
    }

    #[test]
    fn what_the_caller_wrote_does_not_move_the_front_ends_entries() {
        let last = |lines: &[&[u8]], n| nth_last(&list(lines), "x-forwarded-for", n);
        assert_eq!(last(&[b"1.1.1.1, 2.2.2.2"], 1).as_deref(), Some("2.2.2.2"));
        assert_eq!(last(&[b"1.1.1.1, 2.2.2.2", b"3.3.3.3"], 2).as_deref(), Some("2.2.2.2"));
        // The front end appends to the last line, whatever stands there.
        assert_eq!(last(&[b"1.1.1.1", b"\xff, 2.2.2.2"], 1).as_deref(), Some("2.2.2.2"));
        assert_eq!(last(&[b"1.1.1.1", b"\xff, 2.2.2.2", b"3.3.3.3"], 2).as_deref(), Some("2.2.2.2"));
        assert_eq!(last(&[b"\xff, 2.2.2.2"], 2), None);
        assert_eq!(last(&[b"2.2.2.2"], 2), None);
        assert_eq!(last(&[], 1), None);
    }
}
