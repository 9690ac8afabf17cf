//! A gRPC service and its client: the standard health service, whose code comes generated, with a unary
//! call (Check) and a server-streaming one (Watch).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tonic::metadata::{AsciiMetadataKey, MetadataMap, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

use super::background::{self, PATIENCE, Task, within};

/// The service behind the gateway.
pub(crate) struct Service {
    address: SocketAddr,
    /// Changes what Check says and what Watch sends.
    pub(crate) reporter: HealthReporter,
    seen: Arc<Mutex<Vec<MetadataMap>>>,
    _task: Task,
}

impl Service {
    pub(crate) fn start() -> Self {
        let (address, listener) = background::listen();
        let (reporter, health) = tonic_health::server::health_reporter();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let recording = InterceptedService::new(health, move |request: Request<()>| {
            notes.lock().unwrap().push(request.metadata().clone());
            Ok::<_, Status>(request)
        });
        let server = Server::builder().add_service(recording);
        let incoming = TcpIncoming::from(listener);
        let task = background::spawn(async move { drop(server.serve_with_incoming(incoming).await) });
        Self { address, reporter, seen, _task: task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The metadata of every call that arrived.
    pub(crate) fn seen(&self) -> Vec<MetadataMap> {
        self.seen.lock().unwrap().clone()
    }
}

/// A client of the health service at an address: the gateway's, or the service's own.
pub(crate) async fn client(address: SocketAddr) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(PATIENCE);
    HealthClient::new(within("a gRPC connection", endpoint.connect()).await.unwrap())
}

/// A question about the service as a whole, with metadata.
pub(crate) fn question(metadata: &[(&str, &str)]) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest { service: String::new() });
    for (name, value) in metadata {
        let name: AsciiMetadataKey = name.parse().unwrap();
        request.metadata_mut().append(name, MetadataValue::try_from(*value).unwrap());
    }
    request
}
