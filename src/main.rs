//! The command line: its commands, and the exit codes 0 (done), 1 (could not start) and 2 (wrong
//! configuration or usage).

use std::io::{BufWriter, ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use http::Method;
use portcullis::adapt::command::{self, Trial, Tried};
use portcullis::app::{self, Platform, Source};
use portcullis::config::{self, AdapterSource, Config, Environment, WalStore};
use portcullis::gate::explain::{Question, explain};
use portcullis::wal::console::{self, Chosen, Terminal, Which};

/// A request makes some hundred small allocations, most of them Pingora's. This allocator takes a quarter less CPU
/// for the whole request than glibc's, and serves the static build as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Used when neither `--config` nor `PORTCULLIS_CONFIG` names a file.
const DEFAULT_FILE: &str = "conf/portcullis.yaml";

#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    about = "An identity-aware gateway: Google sign-in for people, Google tokens for programs.",
    after_help = "Exit codes: 0 done, 1 could not start or failed, 2 wrong configuration or usage."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM
    Run {
        /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Read the configuration again when it changes, or a file that it names; SIGHUP does so at any time
        #[arg(long)]
        watch: bool,
    },
    /// Read the configuration and print every problem in it, and what is risky; start nothing
    Check {
        /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Take warnings of risky settings for problems
        #[arg(long)]
        strict: bool,
    },
    /// Say which location takes a request, and why it would pass or be refused; send nothing
    Explain {
        /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// E-mail address of the caller; without it, nobody is signed in
        #[arg(long = "as", value_name = "EMAIL")]
        caller: Option<String>,
        /// Host of the request, where locations depend on it [default: a host that no location names]
        #[arg(long, value_name = "HOST", default_value = "", hide_default_value = true)]
        host: String,
        /// Request method, such as GET
        method: Method,
        /// Path of the request, such as /app, with a query if wanted
        path: String,
    },
    /// Run an adapter, a jq program, on one message and print the body that it makes
    Adapt(Adapt),
    /// Evaluate adapters for the gateway that started this process
    #[command(hide = true)]
    AdaptWorker,
    /// Look at the write-ahead log on this machine, and change it, whether a gateway runs or not
    Wal(Wal),
    /// Serve with a stand-in for Google and an echo upstream, all on this machine; needs no account, start here
    #[cfg(feature = "dev")]
    Dev {
        /// Configuration file; its upstreams and Google's endpoints are replaced [default: a built-in one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Address to listen on; loopback only [default: port of the configuration on 127.0.0.1]
        #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
        listen: Option<std::net::SocketAddr>,
    },
}

#[derive(Args)]
struct Adapt {
    /// The program [default: that of --location]
    #[arg(value_name = "PROGRAM.jq", required_unless_present = "location", conflicts_with = "location")]
    program: Option<PathBuf>,
    /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
    #[arg(long, value_name = "FILE", requires = "location")]
    config: Option<PathBuf>,
    /// Path of the location whose adapter is run, as it stands in the configuration
    #[arg(long, value_name = "PATH")]
    location: Option<String>,
    /// File with the body [default: standard input]
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// A header of the message; may be repeated [default: Content-Type: application/json]
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Request method
    #[arg(long, default_value = "POST")]
    method: String,
    /// Path of the request
    #[arg(long, default_value = "/")]
    path: String,
    /// Query of the request, without `?`
    #[arg(long)]
    query: Option<String>,
    /// File with the program's whole input: {"method", "path", "query", "headers", "form", "json", "text"}
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["body", "headers", "method", "path", "query"])]
    request: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Wal {
    /// Configuration file that says where the log is [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "directory")]
    config: Option<PathBuf>,
    /// Directory of the log
    #[arg(long, value_name = "DIR", global = true)]
    directory: Option<PathBuf>,
    #[command(subcommand)]
    command: WalCommand,
}

#[derive(Subcommand)]
enum WalCommand {
    /// Entries in the order of recording, without their bodies
    List {
        /// Only dead letters
        #[arg(long, conflicts_with = "waiting")]
        dead: bool,
        /// Only what waits
        #[arg(long)]
        waiting: bool,
        /// One JSON document in each line
        #[arg(long)]
        json: bool,
    },
    /// One entry: headers, body, what became of it
    Show {
        /// Its id, or how that begins
        id: String,
        /// Write the bytes of the body, and nothing else
        #[arg(long)]
        body: bool,
    },
    /// Deliver entries now, and count their attempts anew; dead letters live again
    Replay {
        #[command(flatten)]
        chosen: ChosenArguments,
    },
    /// Remove entries, which are then never delivered
    Drop {
        #[command(flatten)]
        chosen: ChosenArguments,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct ChosenArguments {
    /// Ids, or how they begin
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Every dead letter
    #[arg(long)]
    all_dead: bool,
}

impl From<ChosenArguments> for Chosen {
    fn from(arguments: ChosenArguments) -> Self {
        if arguments.all_dead { Self::AllDead } else { Self::Ids(arguments.ids) }
    }
}

fn main() -> ExitCode {
    let environment = Environment::process();
    match Arguments::parse().command {
        Command::Run { config, watch } => run(&environment, config, watch),
        Command::Check { config, strict } => check(&environment, config, strict),
        Command::Explain { config, caller, host, method, path } => {
            let question =
                Question { method: &method, target: &path, host: &host, caller: caller.as_deref() };
            with_config(&environment, config, |config, _| {
                print(&explain(&config, &question));
                ExitCode::SUCCESS
            })
        }
        Command::Adapt(arguments) => adapt(&environment, arguments),
        Command::AdaptWorker => ExitCode::from(portcullis::adapt::work()),
        Command::Wal(arguments) => wal(&environment, arguments),
        #[cfg(feature = "dev")]
        Command::Dev { config, listen } => {
            match portcullis::dev::run(config.as_deref(), listen, &environment, program()) {
                Ok(never) => match never {},
                Err(error) => complain(&error.to_string(), error.exit_code()),
            }
        }
    }
}

fn adapt(environment: &Environment, arguments: Adapt) -> ExitCode {
    let (program, location) = (arguments.program.clone(), arguments.location.clone());
    if let Some(program) = program {
        return match command::source(&program) {
            Ok(source) => try_adapter(&source, arguments),
            Err(error) => complain(&error, 2),
        };
    }
    with_config(environment, arguments.config.clone(), |config, path| {
        let wanted = location.unwrap_or_default();
        let named = config.locations.iter().filter(|location| location.name == wanted);
        match named.filter_map(|location| location.adapt.as_ref()).next() {
            Some(source) => try_adapter(source, arguments),
            None => complain(&format!("{}: no location {wanted} has an adapter", path.display()), 2),
        }
    })
}

fn try_adapter(source: &AdapterSource, arguments: Adapt) -> ExitCode {
    let trial = Trial {
        input: arguments.request,
        body: arguments.body,
        headers: arguments.headers,
        method: arguments.method,
        path: arguments.path,
        query: arguments.query,
        indented: std::io::stdout().is_terminal(),
    };
    match command::run(source, &trial) {
        Tried::Result(text) => {
            print(&format!("{text}\n"));
            ExitCode::SUCCESS
        }
        Tried::Nothing => complain("(nothing: the message would be acknowledged and dropped)", 0),
        Tried::Problems(text) => complain(&text, 2),
        Tried::Failed(text) => complain(&text, 1),
    }
}

fn run(environment: &Environment, file: Option<PathBuf>, watch: bool) -> ExitCode {
    let mut source = Source::new(&path_of(environment, file), environment, watch);
    let config = match source.read() {
        Ok(config) => config,
        Err(problems) => return complain(&problems.to_string(), 2),
    };
    let platform = Platform {
        program: program(),
        project: environment.get("GOOGLE_CLOUD_PROJECT"),
        cloud_run: environment.get("K_SERVICE").is_some(),
    };
    match app::run(config, platform, Some(source)) {
        Ok(never) => match never {},
        Err(error) => complain(&error.to_string(), error.exit_code()),
    }
}

/// This program, which may have been replaced by a newer one meanwhile.
fn program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("portcullis"))
}

fn check(environment: &Environment, file: Option<PathBuf>, strict: bool) -> ExitCode {
    with_config(environment, file, |config, path| {
        if let Err(error) = app::check(&config) {
            return complain(&error.to_string(), error.exit_code());
        }
        for warning in &config.warnings {
            let _ = writeln!(std::io::stderr(), "{warning:#}");
        }
        let warnings = config.warnings.len();
        if strict && warnings > 0 {
            return complain(&format!("{}, which --strict does not accept", count(warnings, "warning")), 2);
        }
        print(&format!(
            "{}: good ({}, {})\n",
            path.display(),
            count(config.locations.len(), "location"),
            count(config.upstreams.len(), "upstream"),
        ));
        ExitCode::SUCCESS
    })
}

fn wal(environment: &Environment, arguments: Wal) -> ExitCode {
    let Wal { config, directory, command } = arguments;
    if let Some(directory) = directory {
        return look_into(&directory, command);
    }
    with_config(environment, config, |config, path| match config.wal.map(|wal| wal.store) {
        Some(WalStore::Disk(store)) => look_into(&store.directory, command),
        Some(WalStore::PubSub(store)) => {
            let help = "look at it with `gcloud pubsub subscriptions pull`, or in the console";
            complain(&format!("{}: the log is the Pub/Sub topic {}; {help}", path.display(), store.topic), 2)
        }
        None => complain(&format!("{}: there is no `wal` in this file", path.display()), 2),
    })
}

fn look_into(directory: &Path, command: WalCommand) -> ExitCode {
    let command = match command {
        WalCommand::List { dead, waiting, json } => {
            let which = match (dead, waiting) {
                (true, _) => Which::Dead,
                (false, true) => Which::Waiting,
                (false, false) => Which::All,
            };
            console::Command::List { which, json }
        }
        WalCommand::Show { id, body } => console::Command::Show { id, body },
        WalCommand::Replay { chosen } => console::Command::Replay(chosen.into()),
        WalCommand::Drop { chosen, yes } => console::Command::Drop { chosen: chosen.into(), yes },
    };
    let (stdin, stderr) = (std::io::stdin(), std::io::stderr());
    let mut terminal = Terminal {
        out: &mut BufWriter::new(std::io::stdout().lock()),
        error: &mut &stderr,
        input: &mut stdin.lock(),
        interactive: std::io::stdin().is_terminal() && stderr.is_terminal(),
    };
    match console::run(directory, &command, &mut terminal) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that went away (`portcullis wal list | head`) is no failure.
        Err(console::Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => complain(&failure.to_string(), failure.exit_code()),
    }
}

/// `1 upstream`, `2 upstreams`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn with_config(
    environment: &Environment,
    file: Option<PathBuf>,
    then: impl FnOnce(Config, &Path) -> ExitCode,
) -> ExitCode {
    let path = path_of(environment, file);
    match config::load(&path, environment) {
        Ok(config) => then(config, &path),
        Err(problems) => complain(&problems.to_string(), 2),
    }
}

/// The file to read.
fn path_of(environment: &Environment, file: Option<PathBuf>) -> PathBuf {
    file.or_else(|| environment.get("PORTCULLIS_CONFIG").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
}

/// An address to listen on, where `localhost` is a name of 127.0.0.1.
#[cfg(feature = "dev")]
fn address(text: &str) -> Result<std::net::SocketAddr, &'static str> {
    let literal = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    literal.as_deref().unwrap_or(text).parse().map_err(|_| "write an address with a port: 127.0.0.1:8080")
}

fn print(text: &str) {
    // A reader that went away (`portcullis explain … | head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    ExitCode::from(code)
}
