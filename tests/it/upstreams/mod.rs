//! What upstreams can do: several addresses, health checks, sockets, certificates, a bound on requests under way.

mod balance;
mod certificates;
mod health;
mod limit;
mod retries;
mod socket;

use crate::harness::gateway::Setup;

/// A gateway with one upstream for everybody; the settings are members of its map.
fn setup(settings: &str) -> Setup {
    Setup::new(&format!(
        "log: {{ format: text, level: debug, requests: all }}\n\
         upstreams:\n  up: {{ audience: none, {settings} }}\n\
         locations:\n  - {{ path: /, access: public, upstream: up }}\n  \
         - {{ path: /small, access: public, upstream: up, max_body: 5 }}\n"
    ))
}
