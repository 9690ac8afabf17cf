//! The floor: a Pingora proxy with empty hooks, set up like the gateway. `empty_proxy LISTEN UPSTREAM`.

#![expect(clippy::expect_used, clippy::panic, reason = "a contestant that cannot start says so and ends")]

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::Result;
use pingora::apps::HttpServerOptions;
use pingora::modules::http::HttpModules;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Empty(SocketAddr);

#[async_trait]
impl ProxyHttp for Empty {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (arguments.next(), arguments.next()) else {
        panic!("usage: empty_proxy LISTEN UPSTREAM");
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let server = Server::new_with_opt_and_conf(None, conf);
    let upstream = upstream.parse().expect("UPSTREAM is an address");
    let mut service = http_proxy_service(&server.configuration, Empty(upstream));
    if let Some(proxy) = service.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        proxy.server_options = Some(options);
    }
    service.add_tcp(&listen);
    let mut server = server;
    server.add_service(service);
    server.run_forever();
}
