//! The gate: what happens to a request. Reads like a table of contents of the steps *admit*, *route*,
//! *authenticate* and *authorize*; deciding and answering are separate, and nothing here touches a socket but
//! the identity look-ups.

pub mod access;
pub mod cors;
pub mod explain;
pub mod intake;
pub mod location;
pub mod rate;
pub mod record;
pub mod refusal;
pub mod request;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, Method};

use self::access::{Caller, Permit, Presented, Source, is_allowed};
use self::intake::Own;
use self::location::{LocationId, Route, Router, allowed_methods};
use self::rate::Rates;
use self::record::{Pending, Recorder, What};
use self::refusal::{Asker, Form, Refusal};
use self::request::{NotCanonical, Path, RequestView, host_name};
use crate::config::{Access, Allow, AllowEncoded, Config, Location, Webhook};
use crate::identity::{Credential, Identity, IdentityProvider, VerifyError};
use crate::login::{Login, Visit};
use crate::reply::Reply;
use crate::time::UnixTime;
use crate::webhook::{WebhookError, needs};

/// Decides on requests.
pub struct Gate {
    config: Arc<Config>,
    router: Router,
    rates: Rates,
    sign_in: Option<SignIn>,
    recorder: Option<Recorder>,
    stopping: Arc<AtomicBool>,
}

/// What only gateways with a `google` section have.
pub struct SignIn {
    /// Verifies credentials.
    pub provider: Arc<dyn IdentityProvider>,
    /// Signs people in.
    pub login: Login,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Decision {
    /// It goes to the upstream.
    Forward(Permit),
    /// Its body is read here, and then [`Gate::finish`] decides.
    Read(Pending),
    /// We answer it.
    Answer(Reply),
    /// We refuse it.
    Refuse(Refusal),
}

/// A decision with what was learnt on the way, for the log.
#[derive(Debug)]
pub struct Verdict {
    /// What happens.
    pub decision: Decision,
    /// The location, if one was found.
    pub location: Option<LocationId>,
    /// Who called, if known.
    pub identity: Option<Arc<Identity>>,
    /// The step at which the decision fell.
    pub step: Step,
}

/// The steps of a request, as they are called in code, logs and documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// One canonical view of the request.
    #[default]
    Admit,
    /// The view leads to a location.
    Route,
    /// The credential proves an identity.
    Authenticate,
    /// The location admits the identity.
    Authorize,
    /// A message is verified, adapted and kept.
    Record,
    /// A token is minted for the upstream.
    Mint,
    /// The request goes to the upstream.
    Forward,
    /// The answer goes to the caller.
    Respond,
}

impl Step {
    /// Name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Route => "route",
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::Record => "record",
            Self::Mint => "mint",
            Self::Forward => "forward",
            Self::Respond => "respond",
        }
    }
}

#[derive(Default)]
struct Trail {
    location: Option<LocationId>,
    identity: Option<Arc<Identity>>,
    step: Step,
}

impl Gate {
    /// A gate for a configuration. `recorder` is there as soon as a location reads bodies, and `stopping` turns the
    /// health endpoint red.
    pub fn new(
        config: Arc<Config>,
        sign_in: Option<SignIn>,
        recorder: Option<Recorder>,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        let router = Router::new(&config.locations);
        let rates = Rates::new(&config);
        Self { config, router, rates, sign_in, recorder, stopping }
    }

    /// Counts a request of its address, where there is a limit. To be asked before anything is read or decided. Health
    /// is always told, and the playback endpoint has one caller, who must not be slowed down by others of its network.
    pub fn count_address(&self, view: &RequestView<'_>) -> Result<(), Refusal> {
        match Own::of(&view.path.decoded) {
            Some(Own::Health | Own::Playback) => Ok(()),
            Some(Own::Login(_) | Own::Unknown) | None => self.rates.count_address(view.client),
        }
    }

    /// Decides on a request.
    pub async fn decide(&self, view: &RequestView<'_>, now: UnixTime) -> Verdict {
        let mut trail = Trail { step: Step::Route, ..Trail::default() };
        let decision = match self.walk(view, now, &mut trail).await {
            Ok(decision) => decision,
            Err(refusal) => Decision::Refuse(refusal),
        };
        Verdict { decision, location: trail.location, identity: trail.identity, step: trail.step }
    }

    /// Decides on a request whose body was read because [`Gate::decide`] said so.
    pub async fn finish(&self, pending: &Pending, view: &RequestView<'_>, now: UnixTime) -> Verdict {
        let mut trail = Trail { step: Step::Record, ..Trail::default() };
        let reply = match &pending.what {
            What::Message { location, caller } => {
                trail.location = Some(*location);
                trail.identity = caller.as_ref().map(|caller| Arc::clone(&caller.identity));
                self.record(*location, caller.as_ref(), view, now).await
            }
            What::Playback => match &self.recorder {
                Some(recorder) => recorder.play_back(view, now).await,
                None => Err(Refusal::NoLocation),
            },
        };
        let decision = reply.map_or_else(Decision::Refuse, Decision::Answer);
        Verdict { decision, location: trail.location, identity: trail.identity, step: trail.step }
    }

    /// The verdict on a request whose body could not be read.
    pub fn refuse_pending(&self, pending: &Pending, refusal: Refusal) -> Verdict {
        let (location, caller) = match &pending.what {
            What::Message { location, caller } => (Some(*location), caller.as_ref()),
            What::Playback => (None, None),
        };
        let identity = caller.map(|caller| Arc::clone(&caller.identity));
        Verdict { decision: Decision::Refuse(refusal), location, identity, step: Step::Record }
    }

    async fn record(
        &self,
        id: LocationId,
        caller: Option<&Caller>,
        view: &RequestView<'_>,
        now: UnixTime,
    ) -> Result<Reply, Refusal> {
        let found = self.location(id).zip(self.recorder.as_ref()).and_then(|(location, recorder)| {
            Some((location, self.config.upstreams.get(location.upstream)?, recorder))
        });
        let Some((location, upstream, recorder)) = found else {
            return Err(Refusal::Internal(
                "BUG: a location reads bodies, and there is no recorder".to_owned(),
            ));
        };
        recorder.message((id, location, upstream), caller, view, now).await
    }

    /// The location of an id.
    pub fn location(&self, id: LocationId) -> Option<&Location> {
        self.config.locations.get(id.0)
    }

    /// The largest body that is read here before deciding, when the request ends here.
    pub fn own_body_limit(&self, view: &RequestView<'_>) -> Option<u64> {
        // The caller of the playback endpoint is checked before its body, which may be large, is read.
        Own::of(&view.path.decoded).filter(|own| *own != Own::Playback).map(|_| intake::MAX_BODY)
    }

    /// The answer to a refusal, in the form that the caller understands.
    pub fn refuse(&self, refusal: &Refusal, view: &RequestView<'_>) -> Reply {
        let return_path = return_path(view);
        refusal.reply(&Asker { form: Form::of(view), request_id: view.request_id, return_path: &return_path })
    }

    /// An answer of ours with what lets pages read it whose origin the location allows.
    pub fn readable(&self, id: Option<LocationId>, headers: &HeaderMap, reply: Reply) -> Reply {
        match id.and_then(|id| self.location(id)?.cors.as_ref()) {
            Some(cors) => cors::readable(cors, headers, reply),
            None => reply,
        }
    }

    async fn walk(
        &self,
        view: &RequestView<'_>,
        now: UnixTime,
        trail: &mut Trail,
    ) -> Result<Decision, Refusal> {
        if let Some(own) = Own::of(&view.path.decoded) {
            if own == Own::Playback {
                return Box::pin(self.admit_push(view, now)).await.map(Decision::Read);
            }
            // Boxed, like all that is rare: the future of the common case is allocated for each request.
            return Box::pin(self.answer_own(own, view, now)).await.map(Decision::Answer);
        }
        if *view.method == Method::OPTIONS
            && let Some(decision) = self.preflight(view, trail)
        {
            return decision;
        }
        let id = route(&self.router, &self.config.locations, view.host, &view.path, view.method)?;
        trail.location = Some(id);
        self.rates.count_location(id, view.client)?;
        let location =
            self.location(id).ok_or_else(|| Refusal::Internal("BUG: no such location".to_owned()))?;
        match (&location.access, &location.message) {
            (Access::Public, None) => Ok(Decision::Forward(Permit::new(id, None))),
            (Access::Google(allow), _) => self.admit_caller((id, location), allow, view, now, trail).await,
            (Access::Public, Some(message)) => Ok(Decision::Read(Pending::message(id, message, None))),
            (Access::Webhook(webhook), Some(message)) => {
                trail.step = Step::Record;
                signed(webhook, view)?;
                Ok(Decision::Read(Pending::message(id, message, None)))
            }
            (Access::Webhook(_), None) => {
                Err(Refusal::Internal("BUG: a webhook whose body is not read".to_owned()))
            }
        }
    }

    /// The playback endpoint takes POST alone, and nothing is there unless Pub/Sub pushes.
    async fn admit_push(&self, view: &RequestView<'_>, now: UnixTime) -> Result<Pending, Refusal> {
        let Some(recorder) = self.recorder.as_ref().filter(|recorder| recorder.push.is_some()) else {
            return Err(Refusal::NoLocation);
        };
        if *view.method != Method::POST {
            return Err(Refusal::MethodNotAllowed("POST".to_owned()));
        }
        recorder.admit_push(view, now).await.unwrap_or(Err(Refusal::NoLocation))
    }

    async fn admit_caller(
        &self,
        (id, location): (LocationId, &Location),
        allow: &Allow,
        view: &RequestView<'_>,
        now: UnixTime,
        trail: &mut Trail,
    ) -> Result<Decision, Refusal> {
        trail.step = Step::Authenticate;
        let sign_in = self.sign_in()?;
        let caller = match authenticate(sign_in, &self.config.login.cookie, view, now).await {
            Ok(caller) => caller,
            Err(refusal) if refusal.asks_for_sign_in() && view.is_navigation() => {
                return Ok(Decision::Answer(sign_in.login.begin(&visit(view, &self.origin(view)?), now)));
            }
            Err(refusal) => return Err(refusal),
        };
        trail.step = Step::Authorize;
        trail.identity = Some(Arc::clone(&caller.identity));
        if caller.source == Source::Cookie {
            self.check_origin(location, view)?;
        }
        if !is_allowed(allow, &caller.identity) {
            return Err(Refusal::Forbidden { email: caller.identity.email.clone() });
        }
        self.rates.count_identity(id, &caller.identity)?;
        if caller.source == Source::Cookie
            && view.is_navigation()
            && let Some(reply) = sign_in.login.renew(&visit(view, &self.origin(view)?), &caller.identity, now)
        {
            return Ok(Decision::Answer(reply));
        }
        Ok(match &location.message {
            Some(message) => Decision::Read(Pending::message(id, message, Some(caller))),
            None => Decision::Forward(Permit::new(id, Some(caller))),
        })
    }

    async fn answer_own(&self, own: Own, view: &RequestView<'_>, now: UnixTime) -> Result<Reply, Refusal> {
        match own {
            Own::Health => Ok(intake::health(self.stopping.load(Ordering::Acquire))),
            Own::Playback | Own::Unknown => Err(Refusal::NoLocation),
            Own::Login(endpoint) => match &self.sign_in {
                Some(sign_in) => {
                    Ok(sign_in.login.answer(endpoint, &visit(view, &self.origin(view)?), now).await)
                }
                None => Err(Refusal::NoLocation),
            },
        }
    }

    fn sign_in(&self) -> Result<&SignIn, Refusal> {
        self.sign_in
            .as_ref()
            .ok_or_else(|| Refusal::Internal("BUG: a google location without a google section".to_owned()))
    }

    /// How the caller names us.
    fn origin<'a>(&'a self, view: &RequestView<'a>) -> Result<Cow<'a, str>, Refusal> {
        if let Some(origin) = &self.config.public_url {
            return Ok(Cow::Borrowed(origin.as_str()));
        }
        if view.host.is_empty() {
            return Err(NotCanonical::Host.into());
        }
        let scheme = if view.https { "https" } else { "http" };
        Ok(Cow::Owned(format!("{scheme}://{}", view.host)))
    }
}

/// A message without a signature is refused before its body, which may be large, is read.
fn signed(webhook: &Webhook, view: &RequestView<'_>) -> Result<(), Refusal> {
    match needs(&webhook.scheme) {
        Some(header) if !view.headers.contains_key(header) => {
            Err(WebhookError::Missing(header.clone()).into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Step *route*. A path that some location allows in more than one reading must lead there in each.
fn route(
    router: &Router,
    locations: &[Location],
    host: &str,
    path: &Path<'_>,
    method: &Method,
) -> Result<LocationId, Refusal> {
    let host = if router.uses_hosts() { host_name(host) } else { Cow::Borrowed("") };
    let id = match router.route(&host, &path.decoded, method) {
        Route::Found(id) => id,
        Route::WrongMethod(candidates) => {
            return Err(Refusal::MethodNotAllowed(allowed_methods(candidates)));
        }
        Route::NotFound => {
            return Err(path.refused_form(AllowEncoded::default()).map_or(Refusal::NoLocation, Into::into));
        }
    };
    if path.is_plain() {
        return Ok(id);
    }
    let allowed = locations.get(id.0).map(|location| location.allow_encoded).unwrap_or_default();
    if let Some(why) = path.refused_form(allowed) {
        return Err(why.into());
    }
    let elsewhere = |reading: &String| router.route(&host, reading, method) != Route::Found(id);
    if path.readings().iter().any(elsewhere) {
        return Err(NotCanonical::Ambiguous.into());
    }
    Ok(id)
}

/// Step *authenticate*: the session cookie first; where it is missing or not good, the bearer.
async fn authenticate(
    sign_in: &SignIn,
    cookie_name: &str,
    view: &RequestView<'_>,
    now: UnixTime,
) -> Result<Caller, Refusal> {
    let presented = Presented::find(view.headers, cookie_name)?;
    let provider = sign_in.provider.as_ref();
    let mut refusal = Refusal::Unauthenticated;
    for (source, token) in [(Source::Cookie, presented.cookie), (Source::Bearer, presented.bearer)] {
        let Some(token) = token else { continue };
        match verify(provider, token, view, now).await {
            Ok(identity) => return Ok(Caller { identity, source }),
            // That Google could not be asked outweighs a verdict on the other credential.
            Err(error) if matches!(refusal, Refusal::ProviderUnavailable(_)) => drop(error),
            Err(error) => refusal = error.into(),
        }
    }
    Err(refusal)
}

async fn verify(
    provider: &dyn IdentityProvider,
    token: &str,
    view: &RequestView<'_>,
    now: UnixTime,
) -> Result<Arc<Identity>, VerifyError> {
    let credential = Credential::parse(token).ok_or(VerifyError::Malformed)?;
    match provider.recall(credential, now) {
        Some(known) => known,
        None => provider.verify(credential, view.client, now).await,
    }
}

/// The part of the view that sign-in looks at.
fn visit<'a>(view: &'a RequestView<'a>, origin: &'a str) -> Visit<'a> {
    Visit {
        method: view.method,
        path: view.path.raw,
        query: view.query,
        headers: view.headers,
        body: &view.body,
        origin,
        client: view.client,
        request_id: view.request_id,
    }
}

/// Path and query as they were sent, to come back to after sign-in.
fn return_path<'a>(view: &RequestView<'a>) -> Cow<'a, str> {
    match view.query {
        Some(query) => Cow::Owned(format!("{}?{query}", view.path.raw)),
        None => Cow::Borrowed(view.path.raw),
    }
}

#[cfg(test)]
mod tests;
