//! What does a decision cost when everything is known already? No network: the tokens were verified before the
//! measurement began.
//!
//! `cargo bench --bench decide`; compare with a former run by `-- --baseline NAME` after `-- --save-baseline NAME`.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use portcullis::config::{self, Config, Environment};
use portcullis::dev::google::{AccessTokenSpec, Options, StandIn};
use portcullis::gate::request::{Path, RequestView};
use portcullis::gate::{Decision, Gate, SignIn};
use portcullis::identity::{IdentityProvider, Verifier};
use portcullis::login::{GoogleRevocation, Login};
use portcullis::outbound::Outbound;
use portcullis::time::UnixTime;
use tokio::runtime::Runtime;

const CLIENT: &str = "1-a.apps.googleusercontent.com";

/// A gate with some locations, and a token of each kind that it knows.
struct World {
    gate: Gate,
    access_token: String,
    id_token: String,
    now: UnixTime,
}

fn configuration(google: &StandIn, locations: usize) -> Config {
    let mut text = format!(
        "version: 1
google:
  client_id: {CLIENT}
  endpoints: {{ tokeninfo: '{}', certs: '{}' }}
allow: {{ domains: [example.com] }}
upstreams: {{ up: {{ url: 'http://127.0.0.1:9' }} }}
locations:
  - {{ path: /, access: google, upstream: up }}
  - {{ path: /public/, access: public, upstream: up }}
",
        google.tokeninfo(),
        google.certs()
    );
    for number in 2..locations {
        text.push_str(&format!("  - {{ path: /service-{number}/api, access: google, upstream: up }}\n"));
    }
    config::parse(&text, "bench.yaml", &Environment::empty()).expect("the configuration is good")
}

async fn world(locations: usize) -> World {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let google = StandIn::start(any_port, Options::default()).await.expect("the stand-in starts");
    let config = Arc::new(configuration(&google, locations));
    let section = config.google.as_ref().expect("there is a google section");
    let outbound = Arc::new(Outbound::default());
    let provider: Arc<dyn IdentityProvider> =
        Arc::new(Verifier::new(&config, section, Arc::clone(&outbound)));
    let revocation = Arc::new(GoogleRevocation::new(outbound, config.endpoints.revocation.clone()));
    let login = Login::new(
        section,
        &config.endpoints.authorization,
        &config.login,
        None,
        Arc::clone(&provider),
        revocation,
    );
    let ada = google.account("ada@example.com").expect("Ada exists");
    let world = World {
        access_token: google.issue_access_token(&AccessTokenSpec::person(ada, CLIENT)),
        id_token: google.issue_id_token(&google.claims(ada, CLIENT), None),
        gate: Gate::new(Arc::clone(&config), Some(SignIn { provider, login }), None, Arc::default()),
        now: UnixTime::now(),
    };
    for token in [&world.access_token, &world.id_token] {
        let forwarded = decide(&world, "/warm", &headers(Some(token))).await;
        assert!(forwarded, "a good token passes");
    }
    world
}

/// What curl sends, with a token.
fn headers(token: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("gw.example.com"));
    headers.insert("user-agent", HeaderValue::from_static("curl/8.10.1"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    if let Some(token) = token {
        headers.insert(
            "authorization",
            HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is ASCII"),
        );
    }
    headers
}

async fn decide(world: &World, path: &str, headers: &HeaderMap) -> bool {
    let view = RequestView {
        method: &Method::GET,
        path: Path::parse(path).expect("the path is canonical"),
        query: None,
        host: "gw.example.com",
        headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        https: true,
        request_id: "0123456789abcdef0123456789abcdef",
        body: Bytes::new(),
    };
    matches!(black_box(world.gate.decide(&view, world.now).await).decision, Decision::Forward(_))
}

fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("decide");
    for locations in [2, 10, 1000] {
        let world = runtime.block_on(world(locations));
        let deep = format!("/service-{}/api/v1/things/42", locations - 1);
        let cases = [
            ("public", "/public/style.css", headers(None)),
            ("access_token", deep.as_str(), headers(Some(&world.access_token))),
            ("id_token", deep.as_str(), headers(Some(&world.id_token))),
            ("refused", deep.as_str(), headers(None)),
        ];
        for (name, path, headers) in cases {
            group.bench_function(BenchmarkId::new(name, locations), |bencher| {
                bencher.to_async(&runtime).iter(|| decide(&world, path, &headers));
            });
        }
    }
    group.finish();
}

criterion_group!(decisions, benches);
criterion_main!(decisions);
