//! The command line: four commands, and the exit codes 0 (done), 1 (could not start) and 2 (wrong
//! configuration or usage).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use http::Method;
use portcullis::app::{self, Platform};
use portcullis::config::{self, Config, Environment};
use portcullis::gate::explain::{Question, explain};

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
    about = "An identity-aware gateway: Google sign-in for people, Google tokens for programs."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve
    Run {
        /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Read and resolve the configuration, print every problem
    Check {
        /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say which location takes a request, and why it would pass or be refused
    Explain {
        /// Configuration file [default: $PORTCULLIS_CONFIG, else conf/portcullis.yaml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// E-mail address of the caller
        #[arg(long = "as", value_name = "EMAIL")]
        caller: Option<String>,
        /// Host of the request, where locations depend on it
        #[arg(long, value_name = "HOST", default_value = "")]
        host: String,
        /// Request method
        method: Method,
        /// Path of the request, with a query if wanted
        path: String,
    },
    /// Serve with a stand-in for Google and an echo upstream, all on this machine
    #[cfg(feature = "dev")]
    Dev {
        /// Configuration file [default: a built-in one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Address to listen on; loopback only [default: 127.0.0.1:8080]
        #[arg(long, value_name = "ADDR")]
        listen: Option<std::net::SocketAddr>,
    },
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
        let (locations, upstreams) = (config.locations.len(), config.upstreams.len());
        print(&format!("{}: good (locations: {locations}, upstreams: {upstreams})\n", path.display()));
        ExitCode::SUCCESS
    })
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

fn print(text: &str) {
    // A reader that went away (`portcullis explain … | head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    ExitCode::from(code)
}
