//! Everything that HTTP carries, through the gateway: versions, upgrades, streams, large bodies, TLS.

mod grpc;
mod http1;
mod http2;
mod large;
mod sse;
mod tls;
pub(crate) mod websocket;
