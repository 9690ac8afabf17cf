//! The life of the process besides its requests: from the first line in the log to the last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::net::TcpStream;

use super::Platform;
use super::reload::Reloader;
use crate::telemetry::logger::RequestLog;

/// Limit on sending the last spans of traces, within what Cloud Run leaves after the grace.
const FLUSH: Duration = Duration::from_millis(1500);

/// Looks after the process: warms up, says when it is ready, and ends it early when nothing is left to do.
pub(super) struct Attendant {
    pub(super) listen: SocketAddr,
    pub(super) platform: Platform,
    pub(super) reloader: Reloader,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) log: RequestLog,
}

#[async_trait]
impl BackgroundService for Attendant {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut playback_shutdown = shutdown.clone();
        let attend = async {
            tokio::join!(
                self.begin(),
                self.find_project(),
                self.reloader.check_health(),
                self.reloader.run()
            );
        };
        let serve = async {
            tokio::select! {
                () = attend => {}
                // Either way it is over: the sender lives as long as the server.
                _ = shutdown.wait_for(|stop| *stop) => {}
            }
            self.drain().await;
        };
        let play = async {
            if let Some(player) = self.reloader.player() {
                let stop = async { drop(playback_shutdown.wait_for(|stop| *stop).await) };
                player.run(stop).await;
            }
        };
        tokio::join!(serve, play);
        log::info!("stopped");
        self.log.flush();
        std::process::exit(0);
    }
}

impl Attendant {
    /// Waits for the requests under way.
    async fn drain(&self) {
        self.stopping.store(true, Ordering::Release);
        log::info!("stopping: waiting for the requests under way");
        let busy = || self.in_flight.load(Ordering::Acquire) > 0;
        loop {
            while busy() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Answers that are written may still be on their way out of the sockets, and a request that was on its
            // way in when the signal came may only now be there.
            tokio::time::sleep(Duration::from_millis(100)).await;
            if !busy() {
                break;
            }
        }
        if let Some(spans) = self.reloader.spans().await {
            // What does not get through by then is lost, as it is when the collector is down.
            let _ = tokio::time::timeout(FLUSH, spans.flush()).await;
        }
    }

    /// Listens, and has everything ready for the first requests.
    async fn begin(&self) {
        tokio::join!(self.announce(), self.reloader.warm_up());
    }

    async fn announce(&self) {
        let address = reachable(self.listen);
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        log::info!("listening on {}", self.listen);
    }

    async fn find_project(&self) {
        let project = match &self.platform.project {
            Some(project) => Some(project.clone()),
            None if self.platform.cloud_run => self.reloader.metadata().await.project_id().await,
            None => None,
        };
        if let Some(project) = project {
            self.log.set_project(project);
        }
    }
}

/// An address at which a listener on all interfaces can be reached from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
