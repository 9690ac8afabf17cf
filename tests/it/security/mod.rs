//! Attacks that gateways of this kind have fallen to, as tables.
//!
//! Every row is named after the advisory that it repeats, or `own` for a variation of its class. What is
//! refused must not have reached the service behind the gateway with a single byte.

mod cors;
mod dependencies;
mod framing;
mod headers;
mod http2;
mod load;
mod methods;
mod nominations;
mod paths;
mod routes;
mod websockets;
mod world;
