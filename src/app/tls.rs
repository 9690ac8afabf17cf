//! TLS on the public listener. The certificate is looked up for each handshake, so that a renewed one needs no restart.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::ClientCertificate;

/// The gateway's own certificate, which may be replaced at any time. Handshakes under way keep the one they began with.
pub(super) struct Certificate(ArcSwap<CertifiedKey>);

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Certificate").finish_non_exhaustive()
    }
}

impl Certificate {
    /// One that the configuration has tried.
    pub(super) fn new(identity: &ClientCertificate) -> Result<Self, rustls::Error> {
        Ok(Self(ArcSwap::from_pointee(certified(identity)?)))
    }

    /// Shows this one from now on.
    pub(super) fn replace(&self, identity: &ClientCertificate) -> Result<(), rustls::Error> {
        self.0.store(Arc::new(certified(identity)?));
        Ok(())
    }

    /// What a listener that shows it offers: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub(super) fn settings(self: &Arc<Self>) -> pingora::Result<TlsSettings> {
        // The paths are not used where there is a resolver.
        let mut settings = TlsSettings::intermediate("", "")?;
        let resolver: Arc<dyn ResolvesServerCert> = self.clone();
        settings.set_cert_resolver(resolver);
        settings.enable_h2();
        Ok(settings)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(identity: &ClientCertificate) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &default_provider())
}
