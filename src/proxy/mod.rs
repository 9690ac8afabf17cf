//! The gate on Pingora: short hooks that hand over to the gate and carry out what it decided.

mod address;
mod balance;
mod buffers;
mod connections;
mod cors;
mod downstream;
mod edition;
mod failure;
mod framing;
mod headers;
mod health;
mod limit;
mod peer;
mod upgrade;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::config::{Location, Upstream};
use crate::gate::Step;
use crate::gate::access::Permit;
use crate::gate::location::LocationId;
use crate::gate::refusal::Refusal;
use crate::identity::{Identity, VerifyError};
use crate::mint::is_front_door_refusal;
use crate::telemetry::Audit;
use crate::telemetry::metrics::Metrics;
use crate::time::UnixTime;
use crate::trace::{HexId, Ids, Trace};

pub use self::connections::Connections;
pub use self::edition::{Edition, Parts};
pub use self::health::HealthChecks;

use self::balance::Attempts;
use self::buffers::Buffers;
use self::connections::Busy;
use self::limit::Place;

/// The gateway as a Pingora proxy.
pub struct Proxy {
    current: Arc<ArcSwap<Edition>>,
    buffers: Buffers,
    metrics: Arc<Metrics>,
    ids: Ids,
    in_flight: Arc<AtomicUsize>,
}

/// What is known of a request while it is under way.
pub struct Context {
    /// What it goes by to its end.
    edition: Arc<Edition>,
    id: HexId,
    id_header: HeaderValue,
    trace: Option<Trace>,
    started: Instant,
    now: UnixTime,
    client: IpAddr,
    https: bool,
    permit: Option<Permit>,
    location: Option<LocationId>,
    identity: Option<Arc<Identity>>,
    token: Option<HeaderValue>,
    refusal: Option<Refusal>,
    step: Step,
    /// When forwarding began: what was before is the gateway's own time.
    handed_over: Option<Instant>,
    /// When the head of the upstream's response was there, and its status.
    responded: Option<(Instant, u16)>,
    audit: Option<Audit>,
    forwarded: bool,
    body_received: u64,
    attempts: Attempts,
    place: Option<Place>,
    _in_flight: InFlight,
    _busy: Option<Busy>,
}

impl Context {
    fn new(proxy: &Proxy) -> Self {
        let id = proxy.ids.next();
        Self {
            edition: proxy.current.load_full(),
            id,
            id_header: id.header(),
            trace: None,
            started: Instant::now(),
            now: UnixTime::now(),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            https: false,
            permit: None,
            location: None,
            identity: None,
            token: None,
            refusal: None,
            step: Step::Admit,
            handed_over: None,
            responded: None,
            audit: None,
            forwarded: false,
            body_received: 0,
            attempts: Attempts::default(),
            place: None,
            _in_flight: InFlight::new(&proxy.in_flight),
            _busy: Busy::now(),
        }
    }
}

impl Context {
    /// The location and the upstream for which a permit was given.
    fn target(&self) -> Result<(&Permit, &Location, &Upstream)> {
        let found = self.permit.as_ref().and_then(|permit| {
            let location = self.edition.gate.location(permit.location())?;
            Some((permit, location, self.edition.config.upstreams.get(location.upstream)?))
        });
        found.ok_or_else(|| Error::explain(ErrorType::InternalError, "BUG: forwarding without a permit"))
    }
}

/// Counts a request as under way for as long as it lives.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Proxy {
    /// A proxy that begins each request with the edition that is current then.
    pub fn new(current: Arc<ArcSwap<Edition>>, metrics: Arc<Metrics>) -> Self {
        let buffers = Buffers::new(current.load().config.limits.buffered);
        Self { current, buffers, metrics, ids: Ids::default(), in_flight: Arc::default() }
    }

    /// Requests under way; zero means that the process can end.
    pub fn in_flight(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.in_flight)
    }

    /// Ends a request that is being forwarded. `fail_to_proxy` writes the answer.
    fn fail<T>(ctx: &mut Context, refusal: Refusal) -> Result<T> {
        let status = refusal.row().status.as_u16();
        ctx.refusal = Some(refusal);
        Err(Error::new(ErrorType::HTTPStatus(status)))
    }

    /// An upgraded connection was authorised once and may stay open for days. It ends with the credential that opened
    /// it, as soon as either side says something.
    fn check_life(ctx: &mut Context) -> Result<()> {
        let expires = ctx.identity.as_ref().map(|identity| identity.expires);
        if expires.is_some_and(|expires| expires <= UnixTime::now()) {
            return Self::fail(ctx, Refusal::InvalidCredential(VerifyError::Expired));
        }
        Ok(())
    }

    /// Step *mint*: the token for the upstream, or nothing where it wants none.
    async fn mint(ctx: &Context) -> Result<Option<HeaderValue>, Refusal> {
        let (_, _, upstream) = ctx.target().map_err(|error| Refusal::Internal(error.to_string()))?;
        let Some(audience) = &upstream.audience else { return Ok(None) };
        let token = ctx.edition.mint.token(audience, ctx.now).await;
        token.map(Some).map_err(|error| Refusal::MintUnavailable(error.to_string()))
    }

    /// An answer that means that our own token was refused is not the caller's business, and one that readers
    /// understand differently is nobody's.
    fn check_response(response: &ResponseHeader, upgrade: bool, ctx: &mut Context) -> Result<()> {
        if let Some(why) = framing::unsound(response, upgrade) {
            return Self::fail(ctx, Refusal::UpstreamInvalid(why.to_owned()));
        }
        if ctx.token.is_some() && is_front_door_refusal(response.status, &response.headers) {
            if let Some(audience) = &ctx.target()?.2.audience {
                ctx.edition.mint.discard(audience, ctx.now);
            }
            return Self::fail(ctx, Refusal::UpstreamRefusedToken);
        }
        Ok(())
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self)
    }

    /// No modules: Pingora's default adds compression, which is not ours to do.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Steps *admit* to *authorize*, all before anything is forwarded.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        self.admit(session, ctx).await
    }

    /// Step *mint*, and a place among the requests under way.
    async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        ctx.step = Step::Mint;
        let mut ready = Self::mint(ctx).await.map(|token| ctx.token = token);
        if ready.is_ok() {
            ctx.step = Step::Forward;
            ready = Self::take_place(session, ctx).await?;
        }
        if let Err(refusal) = ready {
            Box::pin(self.refuse(session, ctx, refusal)).await?;
            return Ok(false);
        }
        ctx.handed_over = Some(Instant::now());
        Ok(true)
    }

    /// Step *forward*: where to.
    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        // Another attempt sends the body from its beginning.
        ctx.body_received = 0;
        let mut attempts = std::mem::take(&mut ctx.attempts);
        let (_, location, _) = ctx.target()?;
        let peer = ctx.edition.peers.peer(location, session.is_upgrade_req(), &mut attempts).await;
        ctx.attempts = attempts;
        peer.or_else(|why| Self::fail(ctx, Refusal::UpstreamUnreachable(why)))
    }

    /// An address to which a new connection can be made is well, whatever was known of it.
    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        if !reused {
            ctx.attempts.reached();
        }
        if let Some(LocationId(location)) = ctx.location {
            self.metrics.count_upstream_connection(&ctx.edition.locations, location, reused);
        }
        Ok(())
    }

    /// Step *forward*: what the upstream sees.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.forwarded = true;
        Self::prepare_request(session, upstream_request, ctx)
    }

    /// Bodies above the location's limit end the request.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if session.was_upgraded() {
            return Self::check_life(ctx);
        }
        let Some(limit) = ctx.target()?.1.max_body else { return Ok(()) };
        ctx.body_received += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if ctx.body_received > limit { Self::fail(ctx, Refusal::BodyTooLarge(limit)) } else { Ok(()) }
    }

    /// Answers that must not reach the caller.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        // On a kept connection, only an answer shows that the address is well.
        ctx.attempts.reached();
        ctx.responded.get_or_insert_with(|| (Instant::now(), response.status.as_u16()));
        Self::check_response(response, session.is_upgrade_req(), ctx)
    }

    /// Step *respond*.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.step = Step::Respond;
        Self::permit_pages(session, response, ctx)?;
        headers::prepare_response(response, &ctx.edition.cookies, &ctx.id_header)
    }

    /// What the upstream sends over an upgraded connection.
    fn response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        if session.was_upgraded() {
            Self::check_life(ctx)?;
        }
        Ok(None)
    }

    /// Another address of the upstream may do better. Nothing was sent yet.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let Context { edition, attempts, location, .. } = ctx;
        let location = location.and_then(|id| edition.gate.location(id));
        let again = location.is_some_and(|at| edition.peers.failed(at, attempts, &error));
        error.set_retry(again);
        error
    }

    /// Every failure gets an answer from the same table as the gate's own refusals.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        self.answer_failure(session, error, ctx).await
    }

    /// Step *account*.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        self.account(session, error, ctx);
    }

    /// We log failures ourselves, with the request's id and without its query.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: pingora_proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, ctx: &Context) -> String {
        format!("request {}", ctx.id.as_str())
    }
}
