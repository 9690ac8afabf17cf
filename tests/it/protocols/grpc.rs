//! gRPC end to end, with an upstream that speaks HTTP/2 in the clear.

use bytes::Bytes;
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;

use crate::harness::grpc::{self, Service, question};
use crate::harness::h2;
use crate::harness::site::{Flow, Plan, Site};

const CHECK: &str = "/grpc.health.v1.Health/Check";

async fn site(service: &Service) -> Site {
    let settings = format!("url: \"{}\", protocol: http2", service.url());
    let plan = Plan::new(Flow::AccessToken).upstream("grpc", &settings, "");
    let plan = plan.location("{ path: /grpc.health.v1.Health, access: google, upstream: grpc }");
    plan.location("{ path: /no.such.Service, access: google, upstream: grpc }").start().await
}

#[tokio::test]
async fn calls_and_streams_pass() {
    let service = Service::start();
    let site = site(&service).await;
    let mut client = grpc::client(site.address()).await;
    let bearer = site.bearer();
    let metadata = [("authorization", bearer.as_str()), ("x-test", "7"), ("x-portcullis-forged", "1")];
    let answer = client.check(question(&metadata)).await.unwrap();
    assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32);
    let seen = service.seen().pop().unwrap();
    assert_eq!(seen.get("x-test").unwrap(), "7");
    assert_eq!(seen.get("x-goog-authenticated-user-email").unwrap(), "accounts.google.com:ada@example.com");
    assert!(seen.get("authorization").is_none() && seen.get("x-portcullis-forged").is_none());
    assert!(seen.get("x-serverless-authorization").unwrap().to_str().unwrap().starts_with("Bearer eyJ"));

    let mut stream = client.watch(question(&metadata)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, ServingStatus::Serving as i32);
    // Each change is made only after the one before has arrived, so nothing may be held back on the way.
    for status in [ServingStatus::NotServing, ServingStatus::Serving, ServingStatus::NotServing] {
        service.reporter.set_service_status("", status).await;
        assert_eq!(stream.message().await.unwrap().unwrap().status, status as i32);
    }
}

#[tokio::test]
async fn errors_of_the_service_keep_their_codes() {
    let service = Service::start();
    let site = site(&service).await;
    let mut client = grpc::client(site.address()).await;
    let bearer = site.bearer();
    let mut unknown = question(&[("authorization", &bearer)]);
    *unknown.get_mut() = HealthCheckRequest { service: "no.such".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);

    let connection = h2::Connection::open(site.address()).await;
    let headers =
        [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", bearer.as_str())];
    let url = format!("http://{}/no.such.Service/Call", site.address());
    let outcome = connection.send(h2::request("POST", &url, &headers), &[frame()], None).await;
    assert_eq!(outcome.headers["grpc-status"], "12", "{outcome:?}");
}

fn frame() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 0])
}

#[tokio::test]
async fn refusals_are_trailers_only() {
    let service = Service::start();
    let site = site(&service).await;
    let mut client = grpc::client(site.address()).await;
    assert_eq!(client.check(question(&[])).await.unwrap_err().code(), Code::Unauthenticated);
    let bad = question(&[("authorization", "Bearer ya29.unknown-to-anybody")]);
    assert_eq!(client.check(bad).await.unwrap_err().code(), Code::Unauthenticated);
    let mallory = format!("Bearer {}", site.token("mallory@other.example"));
    let refused = client.check(question(&[("authorization", &mallory)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(client.watch(question(&[])).await.unwrap_err().code(), Code::Unauthenticated);

    let connection = h2::Connection::open(site.address()).await;
    let url = format!("http://{}{CHECK}", site.address());
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let outcome = connection.send(h2::request("POST", &url, &headers), &[frame()], None).await;
    assert_eq!(outcome.status.unwrap(), 200);
    assert_eq!(outcome.headers["grpc-status"], "16");
    assert_eq!(outcome.headers["content-type"], "application/grpc");
    assert!(outcome.body.is_empty() && outcome.trailers.is_none(), "{outcome:?}");
    assert!(service.seen().is_empty(), "the service was not asked");
}

#[tokio::test]
async fn a_dead_upstream_is_unavailable() {
    let settings = "url: \"http://127.0.0.1:9\", protocol: http2";
    let plan = Plan::new(Flow::AccessToken).upstream("grpc", settings, "");
    let site =
        plan.location("{ path: /grpc.health.v1.Health, access: google, upstream: grpc }").start().await;
    let mut client = grpc::client(site.address()).await;
    let refused = client.check(question(&[("authorization", &site.bearer())])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}
