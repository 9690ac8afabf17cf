//! Adapters in their worker processes: the real binary, and programs that misbehave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed, and a panic says where")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis::adapt::{AdaptError, Adapters, Limits, Output, Request, WorkerCommand};
use portcullis::config::AdapterSource;

/// A program that never ends, one that wants all memory, and others of their kind.
const ENDLESS: &str = "def f: f; f";
const HUNGRY: &str = "[range(10000000000)]";
const DEEP: &str = "def f: 1 + f; f";
const ECHO: &str = ".json";

/// Generous, so that a busy machine never decides a test.
fn limits() -> Limits {
    Limits { evaluation: Duration::from_secs(60), patience: Duration::from_secs(60), ..Limits::default() }
}

/// Short, for programs that would go on for ever.
fn short() -> Limits {
    Limits { evaluation: Duration::from_millis(300), ..limits() }
}

fn adapters(programs: &[&str], limits: Limits) -> Adapters {
    let source = |(index, text): (usize, &&str)| {
        Arc::new(AdapterSource { name: format!("p{index}.jq"), text: (*text).to_owned() })
    };
    let sources: Vec<_> = programs.iter().enumerate().map(source).collect();
    Adapters::new(&sources, WorkerCommand::new(env!("CARGO_BIN_EXE_portcullis")), limits).unwrap()
}

async fn run(adapters: &Adapters, adapter: usize, body: &str) -> Result<Output, AdaptError> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let request =
        Request { method: "POST", path: "/hook", query: None, headers: &headers, body: body.as_bytes() };
    adapters.run(adapter, &request).await
}

fn json(text: &str) -> Result<Output, AdaptError> {
    Ok(Output::Json(text.to_owned().into()))
}

/// Processes that were started by this name.
fn workers(program: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let is_one = |path: &Path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.starts_with(program.as_os_str().as_encoded_bytes())
    };
    entries
        .filter(|entry| is_one(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[tokio::test]
async fn results_come_back() {
    let programs =
        [ECHO, "empty", "error(\"no \\(.json.a)\")", ".json.a | .b", ".json, 1", ".json.a | tonumber", "nan"];
    let adapters = adapters(&programs, limits());
    let failed = |text: &str| Err(AdaptError::Failed(text.to_owned()));
    assert_eq!(run(&adapters, 0, "{\"a\":1}").await, json("{\"a\":1}"));
    assert_eq!(run(&adapters, 1, "{}").await, Ok(Output::Nothing));
    assert_eq!(run(&adapters, 2, "{\"a\":1}").await, Err(AdaptError::Rejected("no 1".to_owned())));
    assert_eq!(
        run(&adapters, 3, "{\"a\":\"xoxb-canary\"}").await,
        failed("p3.jq: cannot index a string with \"b\"")
    );
    assert_eq!(
        run(&adapters, 4, "{}").await,
        failed("p4.jq: has several results; put them into an array, or take the `first(…)`")
    );
    assert_eq!(run(&adapters, 5, "{\"a\":\"null\"}").await, failed("p5.jq: cannot parse as number"));
    assert!(matches!(run(&adapters, 6, "{}").await, Err(AdaptError::Failed(_))));
    assert!(matches!(run(&adapters, 0, "{\"a\":").await, Err(AdaptError::BadBody(_))));
}

#[tokio::test]
async fn an_endless_loop_is_ended() {
    let adapters = adapters(&[ENDLESS, ECHO, "[limit(3; repeat(1))], ([repeat(1)] | length)"], short());
    for adapter in [0, 2] {
        let result = run(&adapters, adapter, "{}").await;
        assert!(matches!(result, Err(AdaptError::TimedOut(..) | AdaptError::Crashed(_))), "{result:?}");
    }
    let adapters = self::adapters(&[ENDLESS], short());
    let error = run(&adapters, 0, "{}").await.unwrap_err();
    assert_eq!(error.to_string(), "p0.jq: took longer than 300ms");
}

#[tokio::test]
async fn unbounded_memory_is_refused_by_the_system() {
    let adapters = adapters(&[HUNGRY, ECHO, "\"x\" * 100000000000 | length"], limits());
    for adapter in [0, 2] {
        let result = run(&adapters, adapter, "{}").await;
        let Err(AdaptError::Crashed(why)) = result else { panic!("{result:?}") };
        assert!(why.ends_with("it needs more memory than it may have"), "{why}");
        assert_eq!(run(&adapters, 1, "[1]").await, json("[1]"));
    }
}

#[tokio::test]
async fn unbounded_recursion_ends_the_worker_only() {
    let adapters = adapters(&[DEEP, "def f: if . > 3000 then . else . + 1 | 1 + f end; 0 | f"], limits());
    let result = run(&adapters, 0, "{}").await;
    let Err(AdaptError::Crashed(why)) = result else { panic!("{result:?}") };
    assert_eq!(why, "p0.jq: it recurses too deeply");
    // Recursion as such works.
    assert_eq!(run(&adapters, 1, "{}").await, json("6002"));
}

#[tokio::test]
async fn large_results_are_refused() {
    let adapters = adapters(&["\"x\" * 2000", "[range(100000)]"], Limits { output: 1500, ..limits() });
    for adapter in [0, 1] {
        let result = run(&adapters, adapter, "{}").await;
        let expected = format!("p{adapter}.jq: has a result of more than 1500 bytes");
        assert_eq!(result, Err(AdaptError::Failed(expected)));
    }
}

#[tokio::test]
async fn large_messages_pass_through_the_pipe() {
    let adapters = adapters(&[ECHO], limits());
    let body = format!("[\"{}\"]", "x".repeat(3_000_000));
    assert_eq!(run(&adapters, 0, &body).await, json(&body));
    let body = " ".repeat(limits().body + 1);
    assert_eq!(run(&adapters, 0, &body).await, Err(AdaptError::TooLarge));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_does_not_hold_up_the_others() {
    let limits = Limits { workers: 2, ..limits() };
    let adapters = Arc::new(adapters(&[ENDLESS, "{n: .json.n}"], limits));
    let hanging = {
        let adapters = Arc::clone(&adapters);
        tokio::spawn(async move { run(&adapters, 0, "{}").await })
    };
    let mut others = Vec::new();
    for n in 0..50 {
        let adapters = Arc::clone(&adapters);
        others.push(tokio::spawn(async move { (n, run(&adapters, 1, &format!("{{\"n\":{n}}}")).await) }));
    }
    for other in others {
        let (n, result) = other.await.unwrap();
        assert_eq!(result, json(&format!("{{\"n\":{n}}}")));
    }
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    // Its worker is gone, and its turn free again.
    let (one, two) = tokio::join!(run(&adapters, 1, "{\"n\":1}"), run(&adapters, 1, "{\"n\":2}"));
    assert_eq!((one, two), (json("{\"n\":1}"), json("{\"n\":2}")));
}

/// What comes of a message while another hangs.
async fn beside_one_that_hangs(adapters: &Adapters) -> Result<Output, AdaptError> {
    tokio::select! {
        // The first to be polled, so that it has the worker.
        biased;
        result = run(adapters, 0, "{}") => panic!("does not hang: {result:?}"),
        result = run(adapters, 1, "{}") => result,
    }
}

#[tokio::test]
async fn more_than_may_wait_are_turned_away() {
    let full = adapters(&[ENDLESS, ECHO], Limits { workers: 1, waiting: 0, ..limits() });
    assert_eq!(beside_one_that_hangs(&full).await, Err(AdaptError::Busy));
    assert_eq!(run(&full, 1, "{}").await, json("{}"));

    let limits = Limits { workers: 1, patience: Duration::from_millis(10), ..limits() };
    let impatient = adapters(&[ENDLESS, ECHO], limits);
    assert_eq!(beside_one_that_hangs(&impatient).await, Err(AdaptError::Busy));
    assert_eq!(run(&impatient, 1, "{}").await, json("{}"));
}

#[tokio::test]
async fn a_killed_worker_is_replaced() {
    // A name of its own, so that no other test's worker is meant.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("victim");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_portcullis"), &program).unwrap();
    let source = Arc::new(AdapterSource { name: "a.jq".to_owned(), text: ECHO.to_owned() });
    let adapters = Adapters::new(&[source], WorkerCommand::new(&program), limits()).unwrap();
    for body in ["1", "2", "3"] {
        assert_eq!(run(&adapters, 0, body).await, json(body));
        let [worker] = workers(&program)[..] else { panic!("{:?}", workers(&program)) };
        kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    }
    assert_eq!(run(&adapters, 0, "4").await, json("4"));
    let [worker] = workers(&program)[..] else { panic!("{:?}", workers(&program)) };
    // It goes with the gateway.
    drop(adapters);
    tokio::time::timeout(Duration::from_secs(30), async {
        while workers(&program).contains(&worker) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_binary_that_is_no_worker_is_told_apart() {
    let source = Arc::new(AdapterSource { name: "a.jq".to_owned(), text: ECHO.to_owned() });
    for (program, expected) in [
        ("/nonexistent/portcullis", "a.jq: /nonexistent/portcullis cannot be started"),
        ("/bin/false", "a.jq: the worker ended"),
    ] {
        let adapters =
            Adapters::new(std::slice::from_ref(&source), WorkerCommand::new(program), limits()).unwrap();
        let result = run(&adapters, 0, "{}").await;
        let Err(AdaptError::Crashed(why)) = result else { panic!("{result:?}") };
        assert!(why.starts_with(expected), "{why}");
        assert!(adapters.warm_up().await.is_err());
    }
}

#[tokio::test]
async fn warming_up_starts_a_worker() {
    let adapters = adapters(&[ECHO], limits());
    adapters.warm_up().await.unwrap();
    adapters.warm_up().await.unwrap();
    assert_eq!(run(&adapters, 0, "{}").await, json("{}"));
}

/// A worker without a gateway: what a test writes into its pipe is all it hears.
fn lone_worker() -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("adapt-worker").env_clear().env("MIMALLOC_ARENA_RESERVE", "32768");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_worker_ends_with_its_pipe() {
    let worker = lone_worker();
    // Waiting closes standard input.
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_worker_takes_no_orders_from_strangers() {
    use std::io::Write as _;
    let mut worker = lone_worker();
    worker.stdin.as_mut().unwrap().write_all(b"\x05\0\0\0hello").unwrap();
    let output = worker.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is started by the gateway"), "{output:?}");
}

/// A gateway's runtime that ends in the middle of an evaluation takes the worker along, even one that would go on for
/// ever: the pipe closes, and the worker watches it.
#[test]
fn a_worker_in_an_endless_loop_ends_with_its_pipe() {
    let mut worker = lone_worker();
    let mut input = worker.stdin.take().unwrap();
    let mut output = worker.stdout.take().unwrap();
    talk::hello(&mut input, &mut output, ENDLESS);
    talk::message(&mut input, b"{}");
    drop(input);
    assert!(worker.wait().unwrap().success());
}

/// The protocol of the pipe, written a second time.
mod talk {
    use std::io::{Read, Write};

    fn bytes(frame: &mut Vec<u8>, bytes: &[u8]) {
        frame.extend((bytes.len() as u64).to_le_bytes());
        frame.extend(bytes);
    }

    fn send(pipe: &mut impl Write, frame: &[u8]) {
        pipe.write_all(&u32::try_from(frame.len()).unwrap().to_le_bytes()).unwrap();
        pipe.write_all(frame).unwrap();
        pipe.flush().unwrap();
    }

    pub(super) fn hello(input: &mut impl Write, output: &mut impl Read, program: &str) {
        let mut frame = Vec::new();
        bytes(&mut frame, env!("CARGO_PKG_VERSION").as_bytes());
        for number in [1 << 28, 1 << 20, 1 << 20, 1_u64] {
            frame.extend(number.to_le_bytes());
        }
        bytes(&mut frame, b"program.jq");
        bytes(&mut frame, program.as_bytes());
        send(input, &frame);
        let mut ready = [0; 5];
        output.read_exact(&mut ready).unwrap();
        assert_eq!(ready, [1, 0, 0, 0, 0]);
    }

    pub(super) fn message(input: &mut impl Write, body: &[u8]) {
        let mut frame = 0_u64.to_le_bytes().to_vec();
        bytes(&mut frame, b"POST");
        bytes(&mut frame, b"/");
        frame.extend(0_u64.to_le_bytes());
        bytes(&mut frame, b"");
        frame.extend(0_u64.to_le_bytes());
        bytes(&mut frame, body);
        send(input, &frame);
    }
}

/// Runs `portcullis adapt`: exit code, standard output, standard error.
fn command(program: &str, arguments: &[&str], body: &str) -> (Option<i32>, String, String) {
    use std::io::Write as _;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("p.jq"), program).unwrap();
    std::fs::write(directory.path().join("body"), body).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.current_dir(directory.path()).args(["adapt", "p.jq"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input has ended by now, perhaps.
    let _ = child.stdin.take().unwrap().write_all(body.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_program_can_be_tried_out() {
    let body = "{\"a\":1}";
    let out = |text: &str| (Some(0), text.to_owned(), String::new());
    let error = |code: i32, text: &str| (Some(code), String::new(), format!("{text}\n"));
    assert_eq!(command(".json", &[], body), out("{\"a\":1}\n"));
    assert_eq!(
        command(
            "[.method, .path, .query, .headers[\"x-a\"], .form.a]",
            &[
                "--method",
                "PUT",
                "--path",
                "/x",
                "--query",
                "q=1",
                "--header",
                "X-A: 1",
                "--header",
                "content-type: application/x-www-form-urlencoded",
                "--body",
                "body"
            ],
            "a=b",
        ),
        out("[\"PUT\",\"/x\",{\"q\":\"1\"},\"1\",\"b\"]\n")
    );
    assert_eq!(command(".json.b", &["--request", "body"], "{\"json\":{\"b\":2}}"), out("2\n"));
    assert_eq!(
        command("empty", &[], body),
        error(0, "(nothing: the message would be acknowledged and dropped)")
    );
    assert_eq!(
        command("foo, $x", &[], body),
        error(2, "p.jq:1:1: there is no filter `foo` without arguments\np.jq:1:6: there is no variable `$x`")
    );
    assert_eq!(
        command("error(\"no\")", &[], body),
        error(1, "422 Unprocessable Entity; the sender is told: no")
    );
    assert_eq!(
        command(".json.a.b", &[], body),
        error(1, "500 Internal Server Error; the log says: p.jq: cannot index 1 with \"b\"")
    );
    let (code, _, complaint) = command(".", &[], "{");
    assert_eq!(code, Some(1));
    assert!(
        complaint.starts_with("400 Bad Request; the sender is told: the body is not JSON"),
        "{complaint}"
    );
    let (code, _, complaint) = command(".", &["--header", "nonsense"], "{}");
    assert_eq!((code, complaint.as_str()), (Some(1), "`nonsense` is no header; write `Name: value`\n"));
    let (code, _, complaint) = command(".", &["--request", "nowhere"], "{}");
    assert!(code == Some(1) && complaint.starts_with("nowhere: "), "{complaint}");
}
