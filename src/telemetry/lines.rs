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

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    /// Held while lines are written, so that a flush cannot overtake the thread.
    output: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    dropped: u64,
}

impl Lines {
    /// Starts the thread, which writes to standard error until the process ends.
    pub fn to_stderr() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Adds a line, which must end in a newline.
    pub fn push(&self, line: &[u8]) {
        let mut state = lock(&self.shared.state);
        if state.buffer.len() + line.len() > CAPACITY {
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

    /// Writes what is there, before the process ends.
    pub fn flush_now(&self) {
        self.shared.write_out();
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut state = lock(&self.state);
            while state.buffer.is_empty() && state.dropped == 0 {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            gather();
            self.write_out();
        }
    }

    fn write_out(&self) {
        let _output = lock(&self.output);
        let (buffer, dropped) = {
            let mut state = lock(&self.state);
            (std::mem::take(&mut state.buffer), std::mem::take(&mut state.dropped))
        };
        let mut stderr = io::stderr().lock();
        // There is nowhere left to report that standard error is gone.
        let _ = stderr.write_all(&buffer);
        if dropped > 0 {
            let _ = writeln!(
                stderr,
                "{{\"severity\":\"WARNING\",\"message\":\"{dropped} log lines were dropped\"}}"
            );
        }
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
