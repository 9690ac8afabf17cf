//! The command line: its commands, and the exit codes 0 (done), 1 (could not start) and 2 (wrong
//! configuration or usage).

use std::io::{BufWriter, ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use http::Method;
use portcullis::app::{self, Platform};
use portcullis::config::{self, Config, Environment};
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
    },
    /// Read the configuration and print every problem in it; start nothing
    Check {
        /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
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

#[derive(clap::Args)]
struct Wal {
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
        Command::Run { config } => run(&environment, config),
        Command::Check { config } => check(&environment, config),
        Command::Explain { config, caller, host, method, path } => {
            let question =
                Question { method: &method, target: &path, host: &host, caller: caller.as_deref() };
            with_config(&environment, config, |config, _| {
                print(&explain(&config, &question));
                ExitCode::SUCCESS
            })
        }
        Command::Wal(arguments) => wal(arguments),
        #[cfg(feature = "dev")]
        Command::Dev { config, listen } => {
            match portcullis::dev::run(config.as_deref(), listen, &environment) {
                Ok(never) => match never {},
                Err(error) => complain(&error.to_string(), error.exit_code()),
            }
        }
    }
}

fn run(environment: &Environment, file: Option<PathBuf>) -> ExitCode {
    with_config(environment, file, |config, _| {
        let platform = Platform {
            project: environment.get("GOOGLE_CLOUD_PROJECT"),
            cloud_run: environment.get("K_SERVICE").is_some(),
        };
        match app::run(config, platform) {
            Ok(never) => match never {},
            Err(error) => complain(&error.to_string(), 1),
        }
    })
}

fn check(environment: &Environment, file: Option<PathBuf>) -> ExitCode {
    with_config(environment, file, |config, path| {
        print(&format!(
            "{}: good ({}, {})\n",
            path.display(),
            count(config.locations.len(), "location"),
            count(config.upstreams.len(), "upstream"),
        ));
        ExitCode::SUCCESS
    })
}

fn wal(arguments: Wal) -> ExitCode {
    let Some(directory) = arguments.directory else {
        return complain("say where the write-ahead log is: --directory DIR", 2);
    };
    let command = match arguments.command {
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
    match console::run(&directory, &command, &mut terminal) {
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
    let path = file
        .or_else(|| environment.get("PORTCULLIS_CONFIG").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    match config::load(&path, environment) {
        Ok(config) => then(config, &path),
        Err(problems) => complain(&problems.to_string(), 2),
    }
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
