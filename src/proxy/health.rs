//! Asks the addresses of upstreams whether they are well, where the configuration wants that. Only then is there a
//! timer: where the process gets CPU only while it has requests, failed connections have to tell.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Uri;
use pingora::http::ResponseHeader;
use pingora::protocols::ALPN;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck as _, HttpHealthCheck};

use super::address::Target;
use super::peer::Peer;
use crate::config::{HealthCheck, Protocol, Timeouts};

/// All health checks of a configuration.
pub struct HealthChecks(Vec<Arc<Peer>>);

impl HealthChecks {
    /// Nothing when no upstream wants any.
    pub(super) fn of(peers: &[Arc<Peer>]) -> Option<Self> {
        let checked: Vec<_> = peers.iter().filter(|peer| peer.health_check.is_some()).cloned().collect();
        (!checked.is_empty()).then_some(Self(checked))
    }
}

impl HealthChecks {
    /// Asks until the future is dropped.
    pub async fn run(&self) {
        join_all(self.0.iter().map(|peer| look_after(peer))).await;
    }
}

/// Asks all addresses of an upstream, again and again.
async fn look_after(peer: &Peer) {
    let Some(settings) = &peer.health_check else { return };
    let probe = match probe(peer, settings) {
        Ok(probe) => probe,
        Err(error) => return log::error!("upstream {} is not checked: {error}", peer.name),
    };
    let mut conditions: Vec<_> = peer.balancer.targets.iter().map(|target| Condition::of(target)).collect();
    loop {
        let asked = peer.balancer.targets.iter().zip(&mut conditions).map(|(target, condition)| {
            let probe = &probe;
            async move {
                let answer = ask(probe, target, settings.timeout).await;
                if condition.observe(answer.is_ok(), settings) {
                    target.set_healthy(condition.healthy);
                    match answer {
                        Ok(()) => log::info!("upstream {}: {} is well again", peer.name, target.name()),
                        Err(why) => {
                            log::warn!("upstream {}: {} is not used: {why}", peer.name, target.name());
                        }
                    }
                }
            }
        });
        join_all(asked).await;
        tokio::time::sleep(settings.interval).await;
    }
}

/// The question and the answer that is good.
fn probe(peer: &Peer, settings: &HealthCheck) -> Result<HttpHealthCheck> {
    let limit = settings.timeout;
    let timeouts = Timeouts { connect: limit, read: limit, write: limit, idle: limit };
    let authority = peer.authority.to_str().unwrap_or_default();
    let mut probe = HttpHealthCheck::new(authority, false);
    // Replaced for each address.
    let nowhere = SocketAddr::Inet(([0, 0, 0, 0], 1).into());
    probe.peer_template = peer.http_peer(nowhere, false, &timeouts);
    let h2 = peer.protocol == Protocol::Http2;
    probe.peer_template.options.alpn = if h2 { ALPN::H2 } else { ALPN::H1 };
    let origin =
        if h2 { format!("{}://{authority}", if peer.tls { "https" } else { "http" }) } else { String::new() };
    let uri: Result<Uri, _> = format!("{origin}{}", settings.path).parse();
    probe.req.set_uri(uri.map_err(|error| Error::because(ErrorType::InternalError, "BUG: its path", error))?);
    probe.req.insert_header("user-agent", "portcullis/health-check")?;
    let expect = settings.expect;
    probe.validator = Some(Box::new(move |response: &ResponseHeader| {
        let status = response.status.as_u16();
        if status == expect {
            return Ok(());
        }
        Error::e_explain(ErrorType::HTTPStatus(status), format!("the answer is {status}, not {expect}"))
    }));
    Ok(probe)
}

/// Whether any member of a target gives a good answer. The first that does is used from then on.
async fn ask(probe: &HttpHealthCheck, target: &Arc<Target>, limit: Duration) -> Result<(), String> {
    let found = target.found().await?;
    let mut why = String::new();
    for _ in 0..found.list.len() {
        let (member, Some(address)) = found.first() else { break };
        let backend = Backend { addr: address.clone(), weight: 1, ext: http::Extensions::new() };
        match tokio::time::timeout(limit, probe.check(&backend)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = format!("no whole answer within {limit:?}"),
        }
        found.pass_on(member);
    }
    Err(why)
}

/// What the answers of an address so far say.
struct Condition {
    healthy: bool,
    /// Answers in a row that say otherwise.
    against: u32,
}

impl Condition {
    /// What was last known, by checks before a reload too.
    fn of(target: &Target) -> Self {
        Self { healthy: target.healthy(), against: 0 }
    }

    /// Takes one more answer; whether that changes the condition.
    fn observe(&mut self, good: bool, settings: &HealthCheck) -> bool {
        if good == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if good { settings.healthy } else { settings.unhealthy };
        if self.against < enough {
            return false;
        }
        *self = Self { healthy: good, against: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_in_a_row_change_the_condition() {
        let settings = HealthCheck {
            path: "/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
            expect: 200,
        };
        let mut condition = Condition { healthy: true, against: 0 };
        let answers = [false, false, true, false, false, false, false, true, false, true, true, true];
        let changes: Vec<bool> = answers.into_iter().map(|good| condition.observe(good, &settings)).collect();
        let changed: Vec<usize> = (0..changes.len()).filter(|index| changes[*index]).collect();
        assert_eq!(changed, [5, 10]);
        assert!(condition.healthy);
    }
}
