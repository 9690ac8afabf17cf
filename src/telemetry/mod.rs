//! What the gateway tells its operators: log lines, metrics and traces.

mod audit;
pub mod lines;
pub mod logger;
pub mod metrics;
pub mod spans;

pub use audit::Audit;

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when standard error is a terminal, else JSON.
    Auto,
    /// One line of text an entry.
    Text,
    /// Cloud Logging's structured JSON.
    Json,
}

/// Which requests get a log line of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRequests {
    /// Every request.
    All,
    /// Only those that the gateway refused or that failed.
    Refused,
    /// None.
    None,
}
