//! From a configuration to the parts that serve it. What an earlier configuration has learnt and still holds is taken over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::StartError;
use super::recording::{self, Recording};
use crate::config::{Access, Config, Endpoints};
use crate::gate::{Gate, SignIn};
use crate::google_api::GoogleApi;
use crate::identity::{IdentityProvider, Verifier};
use crate::login::{GoogleRevocation, Login};
use crate::metadata::MetadataServer;
use crate::mint::{Mint, TokenMinter};
use crate::outbound::Outbound;
use crate::proxy::{Edition, Parts};
use crate::secrets::{SecretManager, Secrets};
use crate::telemetry::logger::RequestLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::Spans;
use crate::time::UnixTime;

/// What outlives every configuration.
pub(super) struct Lasting {
    pub(super) metrics: Arc<Metrics>,
    pub(super) outbound: Arc<Outbound>,
    pub(super) log: RequestLog,
    pub(super) stopping: Arc<AtomicBool>,
    /// This program, for the workers that evaluate adapters.
    pub(super) program: PathBuf,
}

/// Google's servers as this machine reaches them.
pub(super) struct Google {
    endpoints: Endpoints,
    pub(super) metadata: Arc<MetadataServer>,
    pub(super) api: Arc<GoogleApi>,
    pub(super) secret_manager: Arc<SecretManager>,
}

/// What was made from a configuration.
pub(super) struct Made {
    pub(super) edition: Arc<Edition>,
    pub(super) google: Arc<Google>,
    /// The last one that there was, also when no location reads bodies at present: its deliveries count on.
    pub(super) recording: Option<Recording>,
    pub(super) spans: Option<Arc<Spans>>,
    /// The last one that there was, also when nobody has to sign in at present: it knows who signed out.
    verifier: Option<Arc<Verifier>>,
    mint: Arc<Mint>,
    secrets: Arc<Secrets>,
}

impl Google {
    /// The same as before, unless they are reached elsewhere.
    pub(super) fn of(config: &Config, lasting: &Lasting, before: Option<&Made>) -> Arc<Self> {
        let endpoints = &config.endpoints;
        if let Some(before) = before.filter(|before| before.google.endpoints == *endpoints) {
            return Arc::clone(&before.google);
        }
        let outbound = &lasting.outbound;
        let metadata = Arc::new(MetadataServer::new(Arc::clone(outbound), endpoints.metadata.clone()));
        let api = Arc::new(GoogleApi::new(Arc::clone(outbound), Arc::clone(&metadata)));
        let secret_manager = Arc::new(SecretManager::new(Arc::clone(&api), endpoints.secret_manager.clone()));
        Arc::new(Self { endpoints: endpoints.clone(), metadata, api, secret_manager })
    }
}

impl Made {
    /// Reads the secrets, and makes the rest.
    pub(super) async fn after(
        before: &Self,
        config: Arc<Config>,
        lasting: &Lasting,
    ) -> Result<Self, StartError> {
        let google = Google::of(&config, lasting, Some(before));
        let secrets = recording::secrets(&config, &google, Some(&before.secrets)).await?;
        Self::new(&config, lasting, google, secrets, Some(before))
    }

    /// Makes everything. Waits for nobody.
    pub(super) fn new(
        config: &Arc<Config>,
        lasting: &Lasting,
        google: Arc<Google>,
        secrets: Secrets,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let audiences = config.upstreams.iter().filter_map(|upstream| upstream.audience.as_deref());
        let minter: Arc<dyn TokenMinter> = google.metadata.clone();
        let same_minter = before.filter(|before| Arc::ptr_eq(&before.google, &google));
        let mint = Arc::new(match same_minter {
            Some(before) => before.mint.with(audiences, &minter),
            None => Mint::new(audiences, &minter),
        });
        let verifier = verifier(config, lasting, before);
        let sign_in = sign_in(config, lasting, verifier.as_ref());
        let secrets = Arc::new(secrets);
        let keys = verifier.as_ref().map(|verifier| verifier.keys());
        let shared = recording::Shared { config, google: &google, mint: &mint, secrets: &secrets, keys };
        let recorded = before.and_then(|before| before.recording.as_ref());
        let (recorder, recording) = recording::assemble(lasting, &shared, recorded)?.unzip();
        let gate = Gate::new(Arc::clone(config), sign_in, recorder, Arc::clone(&lasting.stopping));
        let spans = spans(config, lasting, before);
        let parts = Parts {
            config: Arc::clone(config),
            gate,
            mint: Arc::clone(&mint),
            metrics: &lasting.metrics,
            request_log: Some(lasting.log.with(config.log.requests)),
            spans: spans.clone(),
        };
        let edition = Arc::new(Edition::new(parts, before.map(|before| before.edition.as_ref())));
        let recording = recording.or_else(|| recorded.cloned());
        let verifier = verifier.or_else(|| before.and_then(|before| before.verifier.clone()));
        Ok(Self { edition, google, recording, spans, verifier, mint, secrets })
    }

    /// Fetches what the first requests would wait for.
    pub(super) fn warm_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let (verifier, mint) = (self.verifier.clone(), Arc::clone(&self.mint));
        async move {
            let now = UnixTime::now();
            let keys = async {
                if let Some(verifier) = &verifier {
                    verifier.prefetch(now).await;
                }
            };
            tokio::join!(keys, mint.prefetch(now));
        }
    }
}

/// The verifier of the configuration before, where the same tokens are accepted.
fn verifier(config: &Config, lasting: &Lasting, before: Option<&Made>) -> Option<Arc<Verifier>> {
    let google = config.google.as_ref()?;
    let Some(known) = before.and_then(|before| before.verifier.as_ref()) else {
        return Some(Arc::new(Verifier::new(config, google, Arc::clone(&lasting.outbound))));
    };
    Some(known.succeeded_by(config, google).map_or_else(|| Arc::clone(known), Arc::new))
}

fn sign_in(config: &Config, lasting: &Lasting, verifier: Option<&Arc<Verifier>>) -> Option<SignIn> {
    let (google, verifier) = config.google.as_ref().zip(verifier)?;
    let provider: Arc<dyn IdentityProvider> = verifier.clone();
    let revocation = config.endpoints.revocation.clone();
    let revoker = Arc::new(GoogleRevocation::new(Arc::clone(&lasting.outbound), revocation));
    let login = Login::new(
        google,
        &config.endpoints.authorization,
        &config.login,
        hosted_domain(config),
        Arc::clone(&provider),
        revoker,
    );
    Some(SignIn { provider, login })
}

fn spans(config: &Config, lasting: &Lasting, before: Option<&Made>) -> Option<Arc<Spans>> {
    let traces = config.traces.as_ref()?;
    let same = before.filter(|before| before.edition.config().traces.as_ref() == Some(traces));
    if let Some(spans) = same.and_then(|before| before.spans.as_ref()) {
        return Some(Arc::clone(spans));
    }
    Some(Arc::new(Spans::new(Arc::clone(&lasting.outbound), traces.endpoint.clone(), traces.sample)))
}

/// The one domain that Google's account chooser can be limited to.
fn hosted_domain(config: &Config) -> Option<String> {
    let mut domains: Vec<&String> = Vec::new();
    for location in &config.locations {
        match &location.access {
            Access::Public | Access::Webhook(_) => {}
            Access::Google(allow) if allow.workspace_only && allow.emails.is_empty() => {
                domains.extend(&allow.domains);
            }
            Access::Google(_) => return None,
        }
    }
    domains.sort();
    domains.dedup();
    match domains.as_slice() {
        [only] => Some((*only).clone()),
        _ => None,
    }
}
