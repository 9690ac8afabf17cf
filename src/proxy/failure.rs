//! What went wrong while forwarding, in the words of the refusal table, and the request's line in the log.

use std::sync::Arc;
use std::time::Instant;

use http::Version;
use http::header::USER_AGENT;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};

use super::downstream::write;
use super::{Context, Proxy};
use crate::gate::location::LocationId;
use crate::gate::refusal::Refusal;
use crate::telemetry::Audit;
use crate::telemetry::logger::{RequestLine, RequestLog};
use crate::telemetry::metrics::{Ended, Outcome};
use crate::telemetry::spans::{Forwarding, Recorded, Spans};
use crate::trace::SpanId;

impl Proxy {
    /// Answers a failure, unless the answer has begun or nobody is there to read it.
    pub(super) async fn answer_failure(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let refusal = ctx.refusal.take().or_else(|| refusal_of(error));
        let gone = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let Some(refusal) = refusal else { return gone };
        let status = refusal.row().status.as_u16();
        let begun = session.response_written().is_some();
        let mut reply = self.refusal_reply(session, ctx, &refusal);
        ctx.refusal = Some(refusal);
        if begun {
            return gone;
        }
        reply.close = true;
        match write(session, ctx, reply).await {
            Ok(()) => FailToProxy { error_code: status, can_reuse_downstream: false },
            Err(_) => gone,
        }
    }

    /// Step *account*: the metrics, and a line in the log and spans if wanted.
    pub(super) fn account(&self, session: &Session, error: Option<&Error>, ctx: &mut Context) {
        self.count(session, error, ctx);
        if ctx.refusal.as_ref().is_some_and(Refusal::is_denial) {
            ctx.audit = Some(Audit::Denied);
        }
        let failed = ctx.refusal.is_some() || error.is_some();
        let log = ctx.edition.request_log.as_ref().filter(|log| log.wants(failed, ctx.audit.is_some()));
        let spans =
            ctx.edition.spans.as_ref().filter(|_| ctx.trace.as_ref().is_some_and(|trace| trace.recorded));
        if log.is_some() || spans.is_some() {
            Self::tell(log, spans, session, error, ctx);
        }
    }

    fn count(&self, session: &Session, error: Option<&Error>, ctx: &Context) {
        let whole = ctx.started.elapsed();
        let between = |from: Instant, to: Instant| to.saturating_duration_since(from);
        self.metrics.count_request(
            &ctx.edition.locations,
            &Ended {
                location: ctx.location.map(|LocationId(index)| index),
                outcome: outcome(ctx.refusal.as_ref(), error.is_some(), ctx.forwarded),
                status: status(session),
                refusal: refusal_code(error, ctx).map(|code| (ctx.step.name(), code)),
                whole,
                gateway: ctx.handed_over.map_or(whole, |at| between(ctx.started, at)),
                upstream: ctx.handed_over.zip(ctx.responded).map(|(from, (to, _))| between(from, to)),
            },
        );
    }

    fn tell(
        log: Option<&RequestLog>,
        spans: Option<&Arc<Spans>>,
        session: &Session,
        error: Option<&Error>,
        ctx: &Context,
    ) {
        let request = session.req_header();
        let target = String::from_utf8_lossy(request.raw_path());
        let text = |name| request.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let authority = request.uri.authority().map(http::uri::Authority::as_str);
        let broken = error.map(|error| error.etype().as_str());
        let cause = ctx.refusal.as_ref().and_then(Refusal::cause);
        let span = ctx.trace.as_ref().map(|trace| trace.span(ctx.id));
        let own = ctx.identity.as_ref().map(|identity| identity.email.as_ref());
        let line = RequestLine {
            request_id: ctx.id.as_str(),
            trace_id: ctx.trace.as_ref().map_or("", |trace| trace.id.as_str()),
            trace_sampled: ctx.trace.as_ref().is_some_and(|trace| trace.sampled),
            span_id: span.as_ref().map_or("", SpanId::as_str),
            method: &request.method,
            path: target.split(['?', '#']).next().unwrap_or_default(),
            host: authority.or(text("host")).unwrap_or_default(),
            protocol: protocol(request.version),
            client: ctx.client,
            user_agent: text(USER_AGENT.as_str()).unwrap_or_default(),
            status: status(session),
            sent: session.body_bytes_sent(),
            latency: ctx.started.elapsed(),
            location: ctx
                .location
                .and_then(|id| ctx.edition.gate.location(id))
                .map(|location| location.name.as_str()),
            identity: own.or(ctx.audit.as_ref().and_then(Audit::who)),
            step: ctx.step.name(),
            refusal: refusal_code(error, ctx),
            cause: cause.as_deref().or(broken),
            audit: ctx.audit.as_ref(),
        };
        if let Some(log) = log {
            log.write(&line);
        }
        if let (Some(spans), Some(trace)) = (spans, &ctx.trace) {
            let forwarding = forwarding(ctx);
            spans.record(&Recorded { line: &line, id: ctx.id, trace, https: ctx.https, forwarding });
        }
    }
}

/// The way to the upstream, of a request that went there.
fn forwarding(ctx: &Context) -> Option<Forwarding<'_>> {
    let location = ctx.edition.gate.location(ctx.location?)?;
    let host = ctx.edition.config.upstreams.get(location.upstream)?.url.host_str()?;
    let after = ctx.handed_over?.saturating_duration_since(ctx.started);
    Some(Forwarding { host, after, status: ctx.responded.map(|(_, status)| status) })
}

/// What the caller brought about is refused; what we, Google or the upstream did not manage has failed.
fn outcome(refusal: Option<&Refusal>, broken: bool, forwarded: bool) -> Outcome {
    match refusal {
        Some(refusal) if refusal.row().status.is_server_error() => Outcome::Failed,
        Some(_) => Outcome::Refused,
        None if broken => Outcome::Failed,
        None if forwarded => Outcome::Forwarded,
        None => Outcome::Answered,
    }
}

/// Status of the answer; 0 when the connection broke first.
fn status(session: &Session) -> u16 {
    session.response_written().map_or(0, |response| response.status.as_u16())
}

/// Code of the refusal, if the request was refused or failed.
fn refusal_code(error: Option<&Error>, ctx: &Context) -> Option<&'static str> {
    let refused = ctx.refusal.as_ref().map(|refusal| refusal.row().code);
    refused.or(error.map(|_| "connection_broken"))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Pingora's error as a refusal; nothing when the caller is gone.
fn refusal_of(error: &Error) -> Option<Refusal> {
    match error.esource() {
        ErrorSource::Upstream => Some(upstream_refusal(error)),
        ErrorSource::Downstream => downstream_refusal(error),
        ErrorSource::Internal | ErrorSource::Unset => Some(Refusal::Internal(error.to_string())),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "Pingora's list of errors is open")]
fn upstream_refusal(error: &Error) -> Refusal {
    let what = error.etype().as_str().to_owned();
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => Refusal::UpstreamTimeout,
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::ConnectProxyFailure
        | ErrorType::TLSHandshakeFailure
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::SocketError
        | ErrorType::BindError => {
            // Which address it was, and what TLS said.
            let context = error.context.as_ref().map(|context| format!(": {}", context.as_str()));
            Refusal::UpstreamUnreachable(what + context.as_deref().unwrap_or_default())
        }
        _ => Refusal::UpstreamInvalid(what),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "Pingora's list of errors is open")]
fn downstream_refusal(error: &Error) -> Option<Refusal> {
    match error.etype() {
        ErrorType::ReadTimedout => Some(Refusal::BodyTimeout),
        ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ConnectionClosed => None,
        _ => Some(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_not_counted_among_the_refusals() {
        let unreachable = Refusal::UpstreamUnreachable("down".to_owned());
        for forwarded in [false, true] {
            assert_eq!(outcome(Some(&unreachable), true, forwarded), Outcome::Failed);
            assert_eq!(outcome(Some(&Refusal::BodyTooLarge(1)), true, forwarded), Outcome::Refused);
            assert_eq!(outcome(None, true, forwarded), Outcome::Failed);
        }
        assert_eq!(
            outcome(Some(&Refusal::MintUnavailable("down".to_owned())), false, false),
            Outcome::Failed
        );
        assert_eq!(outcome(Some(&Refusal::Unauthenticated), false, false), Outcome::Refused);
        assert_eq!(outcome(None, false, true), Outcome::Forwarded);
        assert_eq!(outcome(None, false, false), Outcome::Answered);
    }
}
