//! Certificates and keys for upstreams. They are read and tried at start, so that none of them fails a request.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use url::Url;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::Resolver;
use crate::config::mirror;
use crate::config::problem::{Fault, Place, Problems, Spanned, shown};
use crate::config::{ClientCertificate, Environment, ListenerTls, UpstreamTls};

/// Largest file in bytes; the bundle of all public authorities is a quarter of it.
const MAX_FILE: u64 = 1024 * 1024;

impl Resolver<'_> {
    pub(super) fn tls(
        &mut self,
        section: Option<&Spanned<mirror::UpstreamTls>>,
        url: Option<&Url>,
    ) -> UpstreamTls {
        let Some(Spanned { value: file, place }) = section else { return UpstreamTls::default() };
        if url.is_some_and(|url| url.scheme() != "https") {
            let fault = Fault::new("`url` is not https");
            self.refuse(place, fault.help("write `https` there, or leave `tls` out"));
        }
        let ca = self.pem(file.ca.as_ref(), authorities);
        let client = self.identity(file.certificate.as_ref(), file.key.as_ref());
        let halves = [("certificate", &file.certificate), ("key", &file.key)];
        if halves.iter().filter(|(_, entry)| entry.is_some()).count() == 1 {
            for (name, _) in halves.iter().filter(|(_, entry)| entry.is_none()) {
                self.missing(place, name, "a certificate is shown together with its key");
            }
        }
        let server_name = self.value(file.server_name.as_ref(), server_name);
        UpstreamTls { ca: ca.unwrap_or_default(), client, server_name }
    }

    pub(super) fn listener_tls(
        &mut self,
        section: Option<&Spanned<mirror::ListenerTls>>,
    ) -> Option<ListenerTls> {
        let Spanned { value: file, place } = section?;
        for (name, entry) in [("certificate", &file.certificate), ("key", &file.key)] {
            if entry.is_none() {
                self.missing(place, name, "name a file in PEM");
            }
        }
        let identity = self.identity(file.certificate.as_ref(), file.key.as_ref())?;
        let path = |entry: &Option<Spanned<String>>| Some(self.folder.join(&entry.as_ref()?.value));
        Some(ListenerTls { identity, files: [path(&file.certificate)?, path(&file.key)?] })
    }

    /// A certificate with its key, from the files that two entries name.
    fn identity(
        &mut self,
        certificate: Option<&Spanned<String>>,
        key: Option<&Spanned<String>>,
    ) -> Option<ClientCertificate> {
        let (chain, own_key) = (self.pem(certificate, certificates), self.pem(key, private_key));
        let (chain, own_key) = chain.zip(own_key)?;
        if let (Err(fault), Some(key)) = (pair(&chain, &own_key), key) {
            self.refuse(&key.place, fault);
            return None;
        }
        Some(ClientCertificate { chain, key: Arc::new(own_key) })
    }

    /// Reads a file that an entry names.
    fn pem<T>(
        &mut self,
        entry: Option<&Spanned<String>>,
        read: impl FnOnce(&[u8]) -> Result<T, Fault>,
    ) -> Option<T> {
        let folder = self.folder;
        self.files.extend(entry.map(|entry| folder.join(&entry.value)));
        self.value(entry, |path| {
            let mut content = Vec::new();
            let opened = File::open(folder.join(path));
            opened.and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content)).map_err(|error| {
                let fault = Fault::new(format!("{} cannot be read: {error}", shown(path)));
                fault.help("paths are relative to the configuration file")
            })?;
            if u64::try_from(content.len()).map_or(true, |length| length > MAX_FILE) {
                return Err(Fault::new(format!("{} is larger than {MAX_FILE} bytes", shown(path))));
            }
            read(&content)
        })
    }
}

/// Reads the certificate of a listener again, from its file and that of its key.
pub fn read_certificate(files: &[PathBuf; 2]) -> Result<ClientCertificate, Problems> {
    let environment = Environment::empty();
    let mut resolver = Resolver {
        environment: &environment,
        folder: Path::new(""),
        problems: Vec::new(),
        files: Vec::new(),
    };
    let [certificate, key] =
        files.each_ref().map(|path| Spanned { value: path.display().to_string(), place: Place::default() });
    let identity = resolver.identity(Some(&certificate), Some(&key));
    identity.ok_or_else(|| Problems::new("tls", resolver.problems))
}

/// All certificates of a file; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let list = list.map_err(|error| Fault::new(format!("the file is not PEM: {error}")))?;
    if list.is_empty() {
        return Err(Fault::new("the file holds no certificate")
            .help("write it in PEM, beginning with `-----BEGIN CERTIFICATE-----`"));
    }
    for (index, certificate) in list.iter().enumerate() {
        let number = index + 1;
        match X509Certificate::from_der(certificate) {
            Ok(([], _)) => {}
            Ok(_) | Err(_) => return Err(Fault::new(format!("certificate {number} in the file is damaged"))),
        }
    }
    Ok(list)
}

/// Certificates that may certify others.
fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let list = certificates(pem)?;
    let mut store = RootCertStore::empty();
    for (index, certificate) in list.iter().enumerate() {
        store.add(certificate.clone()).map_err(|error| {
            Fault::new(format!("certificate {} in the file is no authority: {error}", index + 1))
        })?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::new(default_provider()));
    verifier.build().map_err(|error| Fault::new(format!("the file cannot be used: {error}")))?;
    Ok(list)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    // Why it cannot be read is not repeated, since that might show a piece of it.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        Fault::new("the file holds no private key")
            .help("write it in PEM without a passphrase, beginning with `-----BEGIN PRIVATE KEY-----`")
    })
}

/// Whether a key is that of the certificate, and one that TLS can use.
fn pair(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), Fault> {
    // The proxy is given the bytes alone and finds out again what kind they are.
    let unknown = || Fault::new("the key is of a kind that TLS cannot use").help("use RSA, ECDSA or Ed25519");
    let key = PrivateKeyDer::try_from(key.secret_der().to_vec()).map_err(|_| unknown())?;
    match CertifiedKey::from_der(chain.to_vec(), key, &default_provider()) {
        Ok(_) => Ok(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(Fault::new("the key is not that of `certificate`"))
        }
        Err(_) => Err(unknown()),
    }
}

/// A host name or an IP address.
fn server_name(text: &str) -> Result<String, Fault> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Fault::new(format!("{} is neither a host name nor an IP address", shown(text)))),
    }
}
