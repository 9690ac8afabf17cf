//! The CPU time of a process and of those that it has started, user and system together.

use std::fmt;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;

/// The CPU time that a process has had, in all of its threads.
pub(crate) fn of(process: Pid) -> Duration {
    // One that has ended meanwhile has no clock.
    let now = ClockId::pid_cpu_clock_id(process).and_then(ClockId::now);
    now.map_or(Duration::ZERO, Duration::from)
}

/// The processes that another has started.
pub(crate) fn children(process: Pid) -> Vec<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let lists =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let text: String = lists.collect();
    text.split_whitespace().filter_map(|number| number.parse().ok().map(Pid::from_raw)).collect()
}

/// What was spent on so many messages.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) messages: u64,
    pub(crate) gateway: Duration,
    pub(crate) workers: Duration,
}

impl Meter {
    /// Runs something that deals with so many messages in this process and its workers.
    pub(crate) fn time(&mut self, messages: u64, run: impl FnOnce()) -> Duration {
        self.time_of(Pid::this(), messages, run)
    }

    /// The same for another process.
    pub(crate) fn time_of(&mut self, process: Pid, messages: u64, run: impl FnOnce()) -> Duration {
        let workers = |()| children(process).into_iter().map(of).sum::<Duration>();
        let before = (workers(()), of(process));
        let begun = Instant::now();
        run();
        let took = begun.elapsed();
        self.gateway += of(process).saturating_sub(before.1);
        self.workers += workers(()).saturating_sub(before.0);
        self.messages += messages;
        took
    }

    pub(crate) fn has_measured(&self) -> bool {
        self.messages > 0
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / self.messages as f64;
        let (gateway, workers) = (each(self.gateway), each(self.workers));
        let all = gateway + workers;
        write!(f, "{all:.1} µs for each message ({gateway:.1} gateway, {workers:.1} workers)")
    }
}
