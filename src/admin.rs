//! The operators' listener: metrics and health, apart from the public port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;

use crate::gate::intake;
use crate::reply::Reply;
use crate::telemetry::metrics::Metrics;

/// Answers `/metrics` and `/health`.
pub struct Admin {
    metrics: Arc<Metrics>,
    stopping: Arc<AtomicBool>,
}

/// The service on its own address.
pub fn service(address: SocketAddr, metrics: Arc<Metrics>, stopping: Arc<AtomicBool>) -> Service<Admin> {
    let mut service = Service::new("admin".to_owned(), Admin { metrics, stopping });
    service.add_tcp(&address.to_string());
    service.threads = Some(1);
    service
}

impl Admin {
    fn answer(&self, path: &str) -> Reply {
        match path {
            "/metrics" => Reply::new(StatusCode::OK)
                .header(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))
                .body(self.metrics.render()),
            "/health" => intake::health(self.stopping.load(Ordering::Acquire)),
            _ => Reply::new(StatusCode::NOT_FOUND)
                .header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
                .body("Here are /metrics and /health.\n"),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let reply = self.answer(session.req_header().uri.path());
        let mut response = Response::new(reply.body.to_vec());
        *response.status_mut() = reply.status;
        response.headers_mut().extend(reply.headers);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
        response
    }
}
