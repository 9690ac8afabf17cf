//! The runtime that fixtures live on, and waiting with a deadline.
//!
//! Fixtures must answer while a test blocks (on a child process, say), so they have threads of their own.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Guards against hanging; generous, since it must never decide a test on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// A task that ends with the value that started it.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Waits for its end; a panic in it is one here.
    pub(crate) async fn ended(mut self) {
        within("a task to end", &mut self.0).await.unwrap();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a fixture on threads of its own.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(RUNTIME.spawn(task))
}

/// Runs something on the fixtures' threads to its end, so that what it starts lives there.
pub(crate) async fn run<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    RUNTIME.spawn(task).await.unwrap()
}

/// Starts something on the fixtures' threads, and blocks until it has started.
pub(crate) fn started<T: Send + 'static>(start: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    RUNTIME.spawn(async move { sender.send(start.await) });
    receiver.recv_timeout(PATIENCE).unwrap()
}

/// Runs something that starts tasks, on the fixtures' runtime.
pub(crate) fn entered<T>(start: impl FnOnce() -> T) -> T {
    let _entered = RUNTIME.enter();
    start()
}

/// Turns a blocking standard listener into one of the fixtures' runtime.
pub(crate) fn listen() -> (std::net::SocketAddr, tokio::net::TcpListener) {
    listen_at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// The same at an address.
pub(crate) fn listen_at(address: std::net::SocketAddr) -> (std::net::SocketAddr, tokio::net::TcpListener) {
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let _entered = RUNTIME.enter();
    (address, tokio::net::TcpListener::from_std(listener).unwrap())
}

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("gave up after {PATIENCE:?} waiting for {what}"),
    }
}

/// Looks again and again until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
