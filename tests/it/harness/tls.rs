//! TLS in front of a service: a test CA, certificates of every kind, and a relay that takes the encryption off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{WantsServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

use super::background::{self, Task};

/// Who certifies.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// For `SSL_CERT_FILE`.
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    /// The certificate in PEM.
    pub(crate) pem: String,
    /// The key in PEM.
    pub(crate) key_pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a host name.
    pub(crate) fn certify(&self, host: &str) -> Identity {
        self.issue(&CertificateParams::new([host.to_owned()]).unwrap())
    }

    /// A certificate for a host name that has run out.
    pub(crate) fn certify_until_2021(&self, host: &str) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// The relay. It ends with the value.
pub(crate) struct Front {
    address: SocketAddr,
    protocols: Arc<Mutex<Vec<String>>>,
    _task: Task,
}

/// Where connections go, by what was agreed upon.
#[derive(Clone, Copy)]
pub(crate) struct Behind {
    pub(crate) http1: Option<SocketAddr>,
    pub(crate) http2: Option<SocketAddr>,
}

impl Front {
    pub(crate) fn start(identity: Identity, behind: Behind) -> Self {
        Self::with(builder().with_no_client_auth(), identity, behind)
    }

    /// Takes only callers with a certificate of the authority.
    pub(crate) fn for_clients_of(authority: &Authority, identity: Identity, behind: Behind) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let verifier = verifier.build().unwrap();
        Self::with(builder().with_client_cert_verifier(verifier), identity, behind)
    }

    fn with(
        builder: ConfigBuilder<ServerConfig, WantsServerCert>,
        identity: Identity,
        behind: Behind,
    ) -> Self {
        let mut config = builder.with_single_cert(vec![identity.certificate], identity.key).unwrap();
        config.alpn_protocols.extend(behind.http2.map(|_| b"h2".to_vec()));
        config.alpn_protocols.extend(behind.http1.map(|_| b"http/1.1".to_vec()));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (address, listener) = background::listen();
        let protocols = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&protocols);
        let task = background::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                relays.spawn(relay(acceptor.clone(), stream, behind, Arc::clone(&notes)));
            }
        });
        Self { address, protocols, _task: task }
    }

    /// Under the name that certificates are for.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// What each connection agreed upon: `h2`, `http/1.1`, or nothing.
    pub(crate) fn protocols(&self) -> Vec<String> {
        self.protocols.lock().unwrap().clone()
    }
}

fn builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    builder.with_safe_default_protocol_versions().unwrap()
}

async fn relay(acceptor: TlsAcceptor, stream: TcpStream, behind: Behind, notes: Arc<Mutex<Vec<String>>>) {
    // A handshake that fails is what some tests are about.
    let Ok(mut outer) = acceptor.accept(stream).await else { return };
    let agreed = outer.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
    let target = if agreed == b"h2" { behind.http2 } else { behind.http1 };
    notes.lock().unwrap().push(String::from_utf8_lossy(&agreed).into_owned());
    let Some(target) = target else { return };
    let Ok(mut inner) = TcpStream::connect(target).await else { return };
    drop(tokio::io::copy_bidirectional(&mut outer, &mut inner).await);
}
