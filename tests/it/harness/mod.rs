//! Everything the integration tests are made of.
//!
//! [`gateway`] runs the real binary; [`upstream`] records byte for byte what reaches the service behind
//! it; [`raw`], [`http`], [`h2`], [`frames`], [`websocket`], [`sse`], [`grpc`] and [`browser`] are the
//! callers. [`glue`] is the only file that knows how the gateway announces itself, how it is configured and
//! where tokens come from.

pub(crate) mod answer;
pub(crate) mod background;
pub(crate) mod browser;
pub(crate) mod canary;
pub(crate) mod cdp;
pub(crate) mod checks;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod glue;
pub(crate) mod grpc;
pub(crate) mod h2;
pub(crate) mod h2_upstream;
pub(crate) mod http;
pub(crate) mod message;
pub(crate) mod raw;
pub(crate) mod site;
pub(crate) mod sse;
pub(crate) mod tab;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod websocket;
pub(crate) mod world;

mod selftest;
mod selftest_browser;
