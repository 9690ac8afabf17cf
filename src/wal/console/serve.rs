//! The socket beside the log of a running gateway: who holds the log answers for it.

use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::protocol::{Answer, answer};
use crate::wal::disk::Console;

/// Name of the socket in the directory of the log.
pub(super) const SOCKET: &str = "control.sock";
/// Longest question: some hundred thousand ids.
const MAX_REQUEST: u64 = 16 * 1024 * 1024;
/// Commands that are answered at once.
const MAX_COMMANDS: usize = 4;
/// How long a command may take to write its question, or to read a line of the answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers on the socket until it is dropped.
pub(in crate::wal) struct Control {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Begins to answer. Whoever calls holds the log, so that a socket that is there already is nobody's.
    pub(in crate::wal) fn start(directory: &Path, console: Console) -> io::Result<Self> {
        let (socket, new) = (directory.join(SOCKET), directory.join("control.sock.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, &socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("wal-control".to_owned())
            .spawn(move || listen(&listener, &console, &stopped))?;
        Ok(Self { socket, stop, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread. If nobody can reach the socket any more, neither can it, and it ends with the process.
        if UnixStream::connect(&self.socket).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

fn listen(listener: &UnixListener, console: &Console, stop: &AtomicBool) {
    let busy = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        // Without descriptors to spare nothing can be accepted: the commands then say that nobody answers.
        let Ok(stream) = stream else { return };
        if busy.fetch_add(1, Ordering::SeqCst) >= MAX_COMMANDS {
            busy.fetch_sub(1, Ordering::SeqCst);
            let text = "other commands are under way: try again later".to_owned();
            let _ =
                stream.set_write_timeout(Some(PATIENCE)).and_then(|()| say(&stream, &Answer::Failed(text)));
            continue;
        }
        let (console, leaving) = (console.clone(), Arc::clone(&busy));
        let serving = thread::Builder::new().name("wal-command".to_owned()).spawn(move || {
            if let Err(error) = serve(&stream, &console) {
                log::debug!("a command about the write-ahead log ended early: {error}");
            }
            leaving.fetch_sub(1, Ordering::SeqCst);
        });
        if serving.is_err() {
            busy.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn serve(stream: &UnixStream, console: &Console) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_line(&mut line)?;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let text =
                format!("this gateway does not know the command, it may be of another version: {error}");
            return say(stream, &Answer::Failed(text));
        }
    };
    let mut out = BufWriter::new(stream);
    answer(console, request, &mut |answer| {
        write_line(&mut out, &answer)?;
        // Progress is for somebody who looks at it now.
        if matches!(answer, Answer::Progress { .. }) { out.flush() } else { Ok(()) }
    })?;
    out.flush()
}

fn say(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    write_line(&mut stream, answer)
}

/// One JSON document and the end of its line.
pub(super) fn write_line(out: &mut impl io::Write, document: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    out.write_all(&line)
}
