//! TLS on the public listener: both versions of HTTP over both versions of TLS, and certificates that are renewed while
//! requests are under way.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::harness::background::{eventually, spawn, within};
use crate::harness::tls::{Authority, Identity};
use crate::harness::world::{Plan, World};

/// A gateway that ends TLS itself, with nobody in front of it.
fn world(identity: &Identity, watch: bool) -> World {
    world_with(identity, watch, "")
}

fn world_with(identity: &Identity, watch: bool, further: &str) -> World {
    let plan = Plan {
        log: "{ format: text, level: info, requests: none }",
        further: format!("tls: {{ certificate: own.pem, key: own.key }}\n{further}"),
        ..Plan::default()
    };
    let arguments = ["run", "--config", "portcullis.yaml", "--watch"];
    let world = World::with(&plan, |setup| {
        let setup = setup.file("own.pem", &identity.pem).file("own.key", &identity.key_pem);
        setup.arguments(&arguments[..if watch { 4 } else { 3 }])
    });
    let yaml = plan.yaml(&world.google, &world.upstream).replace("trusted_hops: 1", "trusted_hops: 0");
    world
        .gateway
        .configure(&yaml.replace(&format!("public_url: {}\n", crate::harness::world::PUBLIC_URL), ""));
    if watch {
        world.gateway.says("configuration reloaded");
    } else {
        assert!(world.gateway.reload());
    }
    world
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn connect(
    address: SocketAddr,
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    protocol: &str,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(der(&authority.pem)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

/// The certificate that a new connection gets to see.
async fn shown(world: &World, authority: &Authority) -> CertificateDer<'static> {
    let stream = connect(world.gateway.address(), authority, &TLS13, "http/1.1").await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_both_versions_of_tls() {
    let authority = Authority::new("Test CA");
    let identity = authority.certify("localhost");
    let world = world(&identity, false);
    let address = world.gateway.address();
    for version in [&TLS12, &TLS13] {
        for protocol in ["http/1.1", "h2"] {
            let stream = connect(address, &authority, version, protocol).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
            let io = TokioIo::new(stream);
            let request = http::Request::get("https://localhost/public/x").header("host", "localhost");
            // Nobody in front of the gateway is believed.
            let request = request.header("x-forwarded-proto", "http").body(Full::new(Bytes::new())).unwrap();
            let response = if protocol == "h2" {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
                let _task = spawn(async move { drop(connection.await) });
                within("a response", sender.send_request(request)).await.unwrap()
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                let _task = spawn(async move { drop(connection.await) });
                let (mut parts, body) = request.into_parts();
                parts.uri = "/public/x".parse().unwrap();
                let request = http::Request::from_parts(parts, body);
                within("a response", sender.send_request(request)).await.unwrap()
            };
            assert_eq!(response.status(), 200, "{protocol}");
            drop(response.into_body().collect().await);
            assert_eq!(world.upstream.last().header("x-forwarded-proto").as_deref(), Some("https"));
        }
    }
    // In the clear, nobody answers, and a caller without a handshake is not worth a line.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /public/x HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It may also be reset.
    drop(within("the end", plain.read_to_end(&mut answer)).await);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(!world.gateway.output().contains("handshake"), "{}", world.gateway.output());
}

/// What a connection speaks is known from the handshake, and `limits.idle` is for HTTP/1.
#[tokio::test]
async fn an_idle_connection_of_http_1_is_closed_and_one_of_http_2_is_not() {
    let authority = Authority::new("Test CA");
    let world = world_with(&authority.certify("localhost"), false, "limits: { idle: 1s }\n");
    let address = world.gateway.address();
    let stream = TokioIo::new(connect(address, &authority, &TLS13, "h2").await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let _task = spawn(async move { drop(connection.await) });
    // Each begins when the one before has been idle for too long.
    for _ in 0..2 {
        let mut idle = connect(address, &authority, &TLS13, "http/1.1").await;
        let mut answer = Vec::new();
        drop(within("the end of an idle connection", idle.read_to_end(&mut answer)).await);
        assert!(answer.is_empty(), "{answer:?}");
    }
    let request = http::Request::get("https://localhost/public/x").body(Full::new(Bytes::new())).unwrap();
    let response = within("a response", sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// Whoever signs in is sent back to `https`, though no front end says so.
#[tokio::test]
async fn the_gateway_s_own_origin_is_https() {
    let authority = Authority::new("Test CA");
    let world = world(&authority.certify("localhost"), false);
    let mut stream = connect(world.gateway.address(), &authority, &TLS13, "http/1.1").await;
    let head = "GET /x HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    drop(within("the answer", stream.read_to_string(&mut answer)).await);
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    assert!(answer.contains("redirect_uri=https%3A%2F%2Flocalhost%2F.portcullis%2Fcallback"), "{answer}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_after_a_reload_and_a_bad_one_never_is() {
    let authority = Authority::new("Test CA");
    let [first, second] = [authority.certify("localhost"), authority.certify("localhost")];
    let world = world(&first, false);
    let mut open = connect(world.gateway.address(), &authority, &TLS13, "http/1.1").await;
    assert_eq!(shown(&world, &authority).await, der(&first.pem));
    world.gateway.write("own.pem", &second.pem);
    assert!(!world.gateway.reload(), "the key is still the old one");
    world.gateway.says("tls.key: the key is not that of `certificate`");
    assert_eq!(shown(&world, &authority).await, der(&first.pem));
    world.gateway.write("own.key", &second.key_pem);
    assert!(world.gateway.reload());
    assert_eq!(shown(&world, &authority).await, der(&second.pem));
    // A connection from before goes on.
    open.write_all(b"GET /public/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(within("the answer", open.read_to_end(&mut answer)).await);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// certbot and its like write files and tell nobody.
#[tokio::test]
async fn a_renewed_certificate_is_noticed_without_a_signal() {
    let authority = Authority::new("Test CA");
    for watch in [true, false] {
        let [first, second] = [authority.certify("localhost"), authority.certify("localhost")];
        let world = world(&first, watch);
        world.gateway.write("own.pem", &second.pem);
        world.gateway.write("own.key", &second.key_pem);
        let said = if watch { "configuration reloaded" } else { "certificate reloaded" };
        let count = || world.gateway.output().matches(said).count();
        let wanted = if watch { 2 } else { 1 };
        eventually("the renewed certificate", || count() == wanted).await;
        assert_eq!(shown(&world, &authority).await, der(&second.pem), "watch: {watch}");
        assert_eq!(world.gateway.output().matches("not reloaded").count(), 0);
    }
}

#[tokio::test]
async fn tls_is_not_switched_on_or_off_by_a_reload() {
    let authority = Authority::new("Test CA");
    let world = world(&authority.certify("localhost"), false);
    world.gateway.configure(&Plan::default().yaml(&world.google, &world.upstream));
    assert!(!world.gateway.reload());
    world.gateway.says("`tls`");
}
