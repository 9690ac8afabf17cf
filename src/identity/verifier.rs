//! The verifier: caches, single flight and bounds around the two ways to check a token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use url::Url;

use super::cache::{Digest, FactCache};
use super::claims::Claims;
use super::flight::{Flights, Outcome};
use super::flood::RejectionBudget;
use super::jwks::Jwks;
use super::{Credential, Identity, Kind, VerifyError, tokeninfo};
use crate::config::{Cache, Config, Google, Origin};
use crate::outbound::Outbound;
use crate::secret::Secret;
use crate::telemetry::metrics::TokenLook;
use crate::time::UnixTime;

/// Checks of one kind of token under way at once. Each may be a call to Google.
const CHECKS_AT_ONCE: usize = 64;
/// How long a check waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// How long a token that was signed out is refused here when its own expiry is not known: longer than any token that is
/// accepted.
const LONGEST_LIFE: Duration = Duration::from_secs(25 * 3600);

/// Tells who a credential belongs to.
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// What is known already, without waiting for anybody.
    fn recall(&self, credential: Credential<'_>, now: UnixTime)
    -> Option<Result<Arc<Identity>, VerifyError>>;

    /// Verifies a credential. `client` is the address that has to answer for it.
    async fn verify(
        &self,
        credential: Credential<'_>,
        client: IpAddr,
        now: UnixTime,
    ) -> Result<Arc<Identity>, VerifyError>;

    /// Refuses this token here from now on.
    fn sign_out(&self, credential: Credential<'_>, now: UnixTime);
}

/// Google as the identity provider.
pub struct Verifier {
    inner: Arc<Inner>,
    flights: Flights,
}

struct Inner {
    outbound: Arc<Outbound>,
    tokeninfo: Url,
    jwks: Arc<Jwks>,
    audiences: Audiences,
    cache: FactCache,
    budget: Arc<RejectionBudget>,
    turns: Turns,
    /// What all of this depends on.
    basis: Basis,
}

/// Turns to check a token. Each kind depends on another service of Google, and must not wait for that of the other.
struct Turns {
    access_token: Semaphore,
    id_token: Semaphore,
}

/// What decides whether a token is accepted, and how long that is believed.
#[derive(Clone, Debug, PartialEq)]
struct Basis {
    google: Google,
    own: Option<Origin>,
    tokeninfo: Url,
    certs: Url,
    cache: Cache,
}

impl Basis {
    fn of(config: &Config, google: &Google) -> Self {
        Self {
            google: google.clone(),
            own: config.public_url.clone(),
            tokeninfo: config.endpoints.tokeninfo.clone(),
            certs: config.endpoints.certs.clone(),
            cache: config.cache.clone(),
        }
    }
}

/// For whom a token may have been issued.
#[derive(Debug)]
struct Audiences {
    clients: Vec<String>,
    own: Option<String>,
}

impl Verifier {
    /// A verifier for the tokens that the configuration accepts.
    pub fn new(config: &Config, google: &Google, outbound: Arc<Outbound>) -> Self {
        let jwks = Arc::new(Jwks::new(Arc::clone(&outbound), config.endpoints.certs.clone()));
        Self::of(
            config,
            google,
            outbound,
            jwks,
            FactCache::new(&config.cache),
            Arc::new(RejectionBudget::new()),
        )
    }

    /// A verifier for another configuration, or nothing when this one serves for it as well.
    ///
    /// Whether a token is accepted may have changed, so nothing that was verified is carried over; sign-outs and the
    /// bounds on rejected tokens are, and Google's keys where they come from the same place.
    pub fn succeeded_by(&self, config: &Config, google: &Google) -> Option<Self> {
        let (basis, before) = (Basis::of(config, google), &self.inner.basis);
        if basis == *before {
            return None;
        }
        let outbound = Arc::clone(&self.inner.outbound);
        let jwks = if basis.certs == before.certs {
            Arc::clone(&self.inner.jwks)
        } else {
            Arc::new(Jwks::new(Arc::clone(&outbound), basis.certs))
        };
        let cache = self.inner.cache.emptied(&config.cache);
        Some(Self::of(config, google, outbound, jwks, cache, Arc::clone(&self.inner.budget)))
    }

    fn of(
        config: &Config,
        google: &Google,
        outbound: Arc<Outbound>,
        jwks: Arc<Jwks>,
        cache: FactCache,
        budget: Arc<RejectionBudget>,
    ) -> Self {
        let mut clients = vec![google.client_id.clone()];
        clients.extend(google.accepted_clients.iter().cloned());
        let own = config.public_url.as_ref().map(|origin| origin.as_str().to_owned());
        let inner = Inner {
            jwks,
            outbound,
            tokeninfo: config.endpoints.tokeninfo.clone(),
            audiences: Audiences { clients, own },
            cache,
            budget,
            turns: Turns {
                access_token: Semaphore::new(CHECKS_AT_ONCE),
                id_token: Semaphore::new(CHECKS_AT_ONCE),
            },
            basis: Basis::of(config, google),
        };
        Self { inner: Arc::new(inner), flights: Flights::default() }
    }

    /// Google's keys, for others who verify with them.
    pub fn keys(&self) -> Arc<Jwks> {
        Arc::clone(&self.inner.jwks)
    }

    /// Fetches Google's keys ahead of the first ID token.
    pub async fn prefetch(&self, now: UnixTime) {
        self.inner.jwks.prefetch(now).await;
    }
}

#[async_trait]
impl IdentityProvider for Verifier {
    fn recall(&self, credential: Credential<'_>, now: UnixTime) -> Option<Outcome> {
        self.inner.recall(&Digest::of(credential), now)
    }

    async fn verify(&self, credential: Credential<'_>, client: IpAddr, now: UnixTime) -> Outcome {
        let digest = Digest::of(credential);
        if let Some(known) = self.inner.recall(&digest, now) {
            return known;
        }
        if self.inner.budget.is_spent(client, now) {
            self.inner.count(TokenLook::Throttled);
            return Err(VerifyError::Throttled);
        }
        let check = || {
            let inner = Arc::clone(&self.inner);
            let (kind, token) = (credential.kind(), Secret::new(credential.token()));
            async move { inner.check(kind, token, digest, client, now).await }
        };
        let count = |joined| {
            self.inner.count(if joined { TokenLook::Coalesced } else { TokenLook::Miss });
        };
        self.flights.join(digest, count, check).await
    }

    fn sign_out(&self, credential: Credential<'_>, now: UnixTime) {
        let digest = Digest::of(credential);
        let until = match self.inner.cache.get(&digest, now) {
            Some(Ok(identity)) => identity.expires,
            _ => now.plus(LONGEST_LIFE),
        };
        self.inner.cache.end(digest, until, now);
    }
}

impl Inner {
    /// What the cache knows, counted.
    fn recall(&self, digest: &Digest, now: UnixTime) -> Option<Outcome> {
        let known = self.cache.get(digest, now);
        if let Some(outcome) = &known {
            self.count(if outcome.is_ok() { TokenLook::Hit } else { TokenLook::Rejected });
        }
        known
    }

    fn count(&self, look: TokenLook) {
        self.outbound.metrics().count_token(look);
    }

    async fn check(
        &self,
        kind: Kind,
        token: Secret,
        digest: Digest,
        client: IpAddr,
        now: UnixTime,
    ) -> Outcome {
        let turns = match kind {
            Kind::AccessToken => &self.turns.access_token,
            Kind::IdToken => &self.turns.id_token,
        };
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN, turns.acquire()).await else {
            return Err(VerifyError::Unavailable("too many checks are under way".to_owned()));
        };
        // Another flight may have landed between the look into the cache and this one's start.
        if let Some(known) = self.cache.get(&digest, now) {
            return known;
        }
        // Others from this address may have spent its budget meanwhile, so that a burst costs no more than a row.
        if self.budget.is_spent(client, now) {
            return Err(VerifyError::Throttled);
        }
        let outcome = match kind {
            Kind::AccessToken => self.check_access_token(token.expose(), now).await,
            Kind::IdToken => self.check_id_token(token.expose(), now).await,
        }
        .map(Arc::new);
        self.cache.put(digest, &outcome, now);
        if outcome.as_ref().is_err_and(|error| !matches!(error, VerifyError::Unavailable(_))) {
            self.budget.spend(client, now);
        }
        outcome
    }

    async fn check_access_token(&self, token: &str, now: UnixTime) -> Result<Identity, VerifyError> {
        let claims = tokeninfo::ask(&self.outbound, &self.tokeninfo, token).await?;
        let identity = claims.identity(now)?;
        if identity.service_account {
            // A service account is its own client: its numeric id stands in all three places.
            let id = claims.text("sub");
            let own = id.is_some() && claims.text("aud") == id && claims.text("azp") == id;
            return if own { Ok(identity) } else { Err(VerifyError::WrongAudience) };
        }
        self.audiences.check_client(&claims)?;
        Ok(identity)
    }

    async fn check_id_token(&self, token: &str, now: UnixTime) -> Result<Identity, VerifyError> {
        let claims = self.jwks.verify(token, now).await?;
        let identity = claims.identity(now)?;
        if identity.service_account {
            // Anybody's service account can have Google sign a token for any audience, so the audience only
            // keeps tokens for others out; who may pass is the list of service accounts.
            self.audiences.check_own(&claims)?;
        } else {
            self.audiences.check_client(&claims)?;
        }
        Ok(identity)
    }
}

impl Audiences {
    /// `aud`, and `azp` where it is there, are clients of ours.
    fn check_client(&self, claims: &Claims) -> Result<(), VerifyError> {
        let ours = |client: &str| self.clients.iter().any(|own| own == client);
        let audience = claims.text("aud").is_some_and(ours);
        let party = !claims.has("azp") || claims.text("azp").is_some_and(ours);
        if audience && party { Ok(()) } else { Err(VerifyError::WrongAudience) }
    }

    /// `aud` is the gateway's own URL.
    fn check_own(&self, claims: &Claims) -> Result<(), VerifyError> {
        let own = self.own.as_deref();
        if own.is_some() && claims.text("aud") == own { Ok(()) } else { Err(VerifyError::WrongAudience) }
    }
}

#[cfg(test)]
mod tests;
