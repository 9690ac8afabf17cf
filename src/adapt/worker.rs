//! The other side of the pipe: a process that holds nothing but the programs, and evaluates one message at a time.
//!
//! It binds itself at the start: no files can be opened, no core is written, memory is limited. When the gateway goes
//! away, the pipe closes and the worker ends, also in the middle of an evaluation.

use std::io::{self, BufReader, Read, Write};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::frame::{self, Hello, Pieces, Reply};
use super::input::Unreadable;
use super::program::{Failure, Program, STACK};

/// Memory that the process has besides what an evaluation may use: the programs, the allocator's own.
const BASE: u64 = 64 * 1024 * 1024;
/// Buffer of the incoming pipe; as much as a pipe holds.
const BUFFER: usize = 64 * 1024;

/// Evaluates messages from standard input until it closes. What is returned is the exit code.
pub fn work() -> u8 {
    // The message of a panic may hold what was sent.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            let _ = writeln!(io::stderr(), "panicked at {}:{}", place.file(), place.line());
        }
        std::process::exit(101);
    }));
    let mut input = BufReader::with_capacity(BUFFER, io::stdin());
    let hello = match frame::read(&mut input) {
        Ok(Some(frame)) => Hello::decode(frame),
        Ok(None) => return 0,
        Err(_) => None,
    };
    let Some(hello) = hello else {
        return complain("this command is started by the gateway, by one of the same version");
    };
    if let Err(error) = confine(hello.limits.memory) {
        return complain(&format!("the worker cannot limit itself: {error}"));
    }
    let evaluation = std::thread::Builder::new().name("adapter".to_owned()).stack_size(STACK);
    match evaluation
        .spawn(move || std::process::exit(i32::from(serve(&hello, &mut input, &mut io::stdout()))))
    {
        Ok(_) => watch(),
        Err(error) => complain(&format!("the worker has no room for its stack: {error}")),
    }
}

/// Nothing can be opened, and memory is limited from here on.
fn confine(memory: u64) -> io::Result<()> {
    let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    // Standard input, output and error are open already.
    limit(Resource::Nofile, 3)?;
    limit(Resource::Data, memory.saturating_add(STACK as u64).saturating_add(BASE))?;
    Ok(())
}

/// Returns when the other end of standard input is closed; an evaluation that goes on does not notice.
fn watch() -> u8 {
    let input = io::stdin();
    loop {
        match poll(&mut [PollFd::new(&input, PollFlags::empty())], None) {
            Ok(_) => return 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return complain(&format!("the worker cannot watch its pipe: {error}")),
        }
    }
}

fn serve(hello: &Hello, input: &mut impl Read, output: &mut impl Write) -> u8 {
    let programs: Result<Vec<Program>, _> = hello.programs.iter().map(Program::compile).collect();
    let Ok(programs) = programs else { return complain("the programs do not compile") };
    if frame::write(output, &Reply::Ready).is_err() {
        return 0;
    }
    loop {
        let reply = match frame::read(input) {
            Ok(Some(frame)) => answer(hello, &programs, frame),
            Ok(None) | Err(_) => return 0,
        };
        if frame::write(output, &reply).is_err() {
            return 0;
        }
    }
}

fn answer(hello: &Hello, programs: &[Program], frame: bytes::Bytes) -> Reply {
    let Some(pieces) = Pieces::decode(frame) else {
        return Reply::Unreadable(Unreadable::Bad("the request line or a header is not text".to_owned()));
    };
    let Some(program) = programs.get(pieces.adapter) else {
        return Reply::Failed("BUG: there is no such program".to_owned());
    };
    match pieces.message().input(hello.limits.body) {
        Err(unreadable) => Reply::Unreadable(unreadable),
        Ok(input) => Reply::of(match program.run(input, hello.limits.output) {
            Err(Failure::Failed(why)) => Err(Failure::Failed(program.redacted(&why))),
            other => other,
        }),
    }
}

fn complain(text: &str) -> u8 {
    let _ = writeln!(io::stderr(), "{text}");
    1
}
