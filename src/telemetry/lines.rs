//! Where log lines go: a buffer that a thread of its own writes out, so that a line costs the request it
//! belongs to no system call.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines beyond this many bytes are dropped, and counted, when the reader of our output stalls.
const CAPACITY: usize = 1 << 20;
/// How long the thread gathers lines before it writes them.
const GATHER: Duration = Duration::from_millis(5);

/// A buffered sink for whole lines. Clones share the buffer.
#[derive(Clone, Debug)]
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The line that says how many were dropped.
    notice: fn(u64) -> String,
    state: Mutex<State>,
    filled: Condvar,
    /// Held while lines are written, so that a flush cannot overtake the thread.
    output: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    /// Since the last notice.
    unsaid: u64,
    dropped: u64,
}

impl Lines {
    /// Starts the thread, which writes to standard error until the process ends. `notice` is the line that says how many
    /// lines were dropped.
    pub fn to_stderr(notice: fn(u64) -> String) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(notice));
        let writer = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Adds a line, which must end in a newline.
    pub fn push(&self, line: &[u8]) {
        let mut state = lock(&self.shared.state);
        if state.buffer.len() + line.len() > CAPACITY {
            state.unsaid += 1;
            state.dropped += 1;
            return;
        }
        let was_empty = state.buffer.is_empty();
        state.buffer.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.shared.filled.notify_one();
        }
    }

    /// How many lines were dropped since the start.
    pub fn dropped(&self) -> u64 {
        lock(&self.shared.state).dropped
    }

    /// Writes what is there, before the process ends.
    pub fn flush_now(&self) {
        self.shared.write_out();
    }
}

impl Shared {
    fn new(notice: fn(u64) -> String) -> Self {
        Self { notice, state: Mutex::default(), filled: Condvar::new(), output: Mutex::default() }
    }

    fn run(&self) {
        loop {
            let mut state = lock(&self.state);
            while state.buffer.is_empty() && state.unsaid == 0 {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            gather();
            self.write_out();
        }
    }

    fn write_out(&self) {
        let _output = lock(&self.output);
        // There is nowhere left to report that standard error is gone.
        let _ = io::stderr().lock().write_all(&self.take());
    }

    /// What is there, and behind it how many lines found no room.
    fn take(&self) -> Vec<u8> {
        let (mut buffer, dropped) = {
            let mut state = lock(&self.state);
            (std::mem::take(&mut state.buffer), std::mem::take(&mut state.unsaid))
        };
        if dropped > 0 {
            buffer.extend_from_slice((self.notice)(dropped).as_bytes());
        }
        buffer
    }
}

#[expect(clippy::disallowed_methods, reason = "the log thread serves no requests")]
fn gather() {
    std::thread::sleep(GATHER);
}

/// A thread that panicked while it held the lock leaves whole lines behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_found_no_room_is_counted_and_said_once() {
        let lines = Lines { shared: Arc::new(Shared::new(|dropped| format!("{dropped} gone\n"))) };
        let line = [vec![b'x'; CAPACITY / 2 - 1], vec![b'\n']].concat();
        (0..5).for_each(|_| lines.push(&line));
        let text = String::from_utf8(lines.shared.take()).unwrap();
        assert!(text.len() < CAPACITY + 100 && text.ends_with("x\n3 gone\n"));
        assert!(lines.shared.take().is_empty());
        assert_eq!(lines.dropped(), 3, "the count of the metric goes on");
    }
}
