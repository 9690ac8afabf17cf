//! Log lines: text for people at a terminal, Cloud Logging's structured JSON otherwise
//! (<https://docs.cloud.google.com/logging/docs/structured-logging>).
//!
//! Lines of libraries are kept only from `warn` up, whatever the level: Pingora and hyper print whole request
//! heads at `debug`, tokens included.

use std::io::{self, IsTerminal, Write as _};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::Method;
use log::{Level, LevelFilter, Record, kv};
use serde_json::{Map, Value, json};

use super::lines::Lines;
use super::{Audit, LogFormat, LogRequests};

/// Writes the line of a request.
#[derive(Clone, Debug)]
pub struct RequestLog {
    lines: Lines,
    json: bool,
    requests: LogRequests,
    /// Whether lines of the level `info` are written.
    informs: bool,
    project: Arc<OnceLock<String>>,
}

/// What is said of a request. Never the query, which may carry tokens.
#[derive(Debug)]
pub struct RequestLine<'a> {
    /// Id of the request.
    pub request_id: &'a str,
    /// W3C trace id (32 hexadecimal digits).
    pub trace_id: &'a str,
    /// Whether the trace is sampled.
    pub trace_sampled: bool,
    /// The span within the trace (16 hexadecimal digits).
    pub span_id: &'a str,
    /// Request method.
    pub method: &'a Method,
    /// Path as it was sent.
    pub path: &'a str,
    /// Host as the caller named it.
    pub host: &'a str,
    /// HTTP version.
    pub protocol: &'a str,
    /// The caller's address.
    pub client: IpAddr,
    /// `User-Agent` of the caller.
    pub user_agent: &'a str,
    /// Status that the caller got; 0 when the connection broke first.
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: usize,
    /// From the request's head to the end of the answer.
    pub latency: Duration,
    /// The location's name, when one was found.
    pub location: Option<&'a str>,
    /// Who called, when known.
    pub identity: Option<&'a str>,
    /// The step that ended it.
    pub step: &'static str,
    /// Code of the refusal, if it was refused or failed.
    pub refusal: Option<&'static str>,
    /// What the caller was not told.
    pub cause: Option<&'a str>,
    /// What somebody may want to look up later.
    pub audit: Option<&'a Audit>,
}

/// Installs the logger of the process. Fails when there is one already.
pub fn install(format: LogFormat, level: LevelFilter, requests: LogRequests) -> io::Result<RequestLog> {
    let json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = Lines::to_stderr(if json { json_notice } else { text_notice })?;
    let informs_of_handshakes = level >= LevelFilter::Debug;
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("portcullis", level)
        .target(env_logger::Target::Pipe(Box::new(lines.clone())))
        .format(move |out, record| {
            if !informs_of_handshakes && is_handshake(record) {
                return Ok(());
            }
            let line = if json { json_record(record) } else { text_record(record) };
            out.write_all(line.as_bytes())
        });
    builder.try_init().map_err(io::Error::other)?;
    let informs = level >= LevelFilter::Info;
    Ok(RequestLog { lines, json, requests, informs, project: Arc::default() })
}

/// Whether Pingora says that a caller's TLS handshake failed, which whoever scans ports brings about at will.
fn is_handshake(record: &Record<'_>) -> bool {
    record.target() == "pingora_core::services::listening"
        && record.args().to_string().starts_with("Downstream handshake")
}

impl RequestLog {
    /// Names the Google Cloud project, which joins the lines to Cloud Run's own by their trace. The first name stays.
    pub fn set_project(&self, project: String) {
        self.project.get_or_init(|| project);
    }

    /// Whether a request that was (not) refused gets a line. One that is to be audited gets it at any setting, unless
    /// the level is above `info`.
    pub fn wants(&self, refused: bool, audited: bool) -> bool {
        let wanted = match self.requests {
            LogRequests::All => true,
            LogRequests::Refused => refused,
            LogRequests::None => false,
        };
        wanted || (audited && self.informs)
    }

    /// The same log with other requests in it.
    #[must_use]
    pub fn with(&self, requests: LogRequests) -> Self {
        Self { requests, ..self.clone() }
    }

    /// How many lines were dropped since the start, because their reader was too slow.
    pub fn dropped(&self) -> u64 {
        self.lines.dropped()
    }

    /// Writes the line.
    pub fn write(&self, line: &RequestLine<'_>) {
        let text = if self.json { self.json_line(line) } else { text_line(line) };
        self.lines.push(text.as_bytes());
    }

    /// Writes what is buffered, before the process ends.
    pub fn flush(&self) {
        self.lines.flush_now();
    }

    fn json_line(&self, line: &RequestLine<'_>) -> String {
        let mut entry = Map::new();
        let mut put = |key: &str, value: Value| {
            entry.insert(key.to_owned(), value);
        };
        put("severity", json!(severity_of(line)));
        put("time", json!(timestamp().to_string()));
        put("message", json!(summary(line)));
        put("httpRequest", http_request(line));
        if !line.trace_id.is_empty() {
            put("logging.googleapis.com/trace", json!(self.trace_name(line.trace_id)));
            put("logging.googleapis.com/trace_sampled", json!(line.trace_sampled));
            put("logging.googleapis.com/spanId", json!(line.span_id));
        }
        put("request_id", json!(line.request_id));
        put("step", json!(line.step));
        let optional = [
            ("location", line.location),
            ("identity", line.identity),
            ("refusal", line.refusal),
            ("cause", line.cause),
            ("audit", line.audit.map(Audit::name)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                put(key, json!(value));
            }
        }
        if let Some(revoked) = line.audit.and_then(Audit::revoked) {
            entry.insert("revoked".to_owned(), json!(revoked));
        }
        json_text(&Value::Object(entry))
    }

    /// `projects/PROJECT/traces/TRACE` joins the line to Cloud Run's own; without a project id only the id.
    fn trace_name(&self, trace_id: &str) -> String {
        match self.project.get() {
            Some(project) => format!("projects/{project}/traces/{trace_id}"),
            None => trace_id.to_owned(),
        }
    }
}

fn http_request(line: &RequestLine<'_>) -> Value {
    json!({
        "requestMethod": line.method.as_str(),
        "requestUrl": format!("//{}{}", line.host, line.path),
        "status": line.status,
        "responseSize": line.sent.to_string(),
        "userAgent": line.user_agent,
        "remoteIp": line.client.to_string(),
        "latency": format!("{:.6}s", line.latency.as_secs_f64()),
        "protocol": line.protocol,
    })
}

fn severity_of(line: &RequestLine<'_>) -> &'static str {
    match line.status {
        500.. => "ERROR",
        400..500 => "NOTICE",
        _ if line.audit.is_some() => "NOTICE",
        _ => "INFO",
    }
}

fn summary(line: &RequestLine<'_>) -> String {
    let (method, path, status) = (line.method, line.path, line.status);
    match (line.refusal, line.cause) {
        (Some(refusal), Some(cause)) => format!("{method} {path} {status} {refusal}: {cause}"),
        (Some(refusal), None) => format!("{method} {path} {status} {refusal}"),
        (None, _) => format!("{method} {path} {status}"),
    }
}

fn text_line(line: &RequestLine<'_>) -> String {
    let level = if line.status >= 500 { "ERROR" } else { "INFO " };
    let mut text = format!("{} {level} {}", timestamp(), printable(&summary(line)));
    if let Some(identity) = line.identity {
        text.push_str(&format!(" as {}", printable(identity)));
    }
    if let Some(location) = line.location {
        text.push_str(&format!(" at {location}"));
    }
    if let Some(audit) = line.audit {
        text.push_str(&format!(" audit={}", audit.name()));
    }
    if let Some(revoked) = line.audit.and_then(Audit::revoked) {
        text.push_str(&format!(" revoked={revoked}"));
    }
    let millis = line.latency.as_secs_f64() * 1000.0;
    text.push_str(&format!(" {millis:.1}ms id={}\n", line.request_id));
    text
}

fn text_record(record: &Record<'_>) -> String {
    let mut fields = String::new();
    for (key, value) in fields_of(record) {
        fields.push_str(&format!(" {key}={}", value.as_str().unwrap_or_default()));
    }
    text_note(record.level(), &format!("{}{fields}", record.args()))
}

fn text_note(level: Level, text: &str) -> String {
    format!("{} {level:<5} {}\n", timestamp(), printable(text))
}

fn text_notice(dropped: u64) -> String {
    text_note(Level::Warn, &notice(dropped))
}

fn json_notice(dropped: u64) -> String {
    json_note(Level::Warn, &notice(dropped), Map::new())
}

fn notice(dropped: u64) -> String {
    format!("{dropped} log lines were dropped: whoever reads them is too slow")
}

fn json_record(record: &Record<'_>) -> String {
    let mut fields = fields_of(record);
    fields.insert("target".to_owned(), json!(record.target()));
    json_note(record.level(), &record.args().to_string(), fields)
}

fn json_note(level: Level, text: &str, mut entry: Map<String, Value>) -> String {
    entry.insert("severity".to_owned(), json!(severity(level)));
    entry.insert("time".to_owned(), json!(timestamp().to_string()));
    entry.insert("message".to_owned(), json!(text));
    json_text(&Value::Object(entry))
}

/// The fields that a line of ours was given, such as `request_id`.
fn fields_of(record: &Record<'_>) -> Map<String, Value> {
    struct Fields(Map<String, Value>);
    impl<'kvs> kv::VisitSource<'kvs> for Fields {
        fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
            self.0.insert(key.as_str().to_owned(), json!(value.to_string()));
            Ok(())
        }
    }
    let mut fields = Fields(Map::new());
    // Never fails: the visitor does not.
    let _ = record.key_values().visit(&mut fields);
    fields.0
}

/// A line of JSON. JSON lets DEL and the C1 controls stand as they are, and terminals obey them, so they are escaped
/// like the other control characters.
fn json_text(entry: &Value) -> String {
    let mut text = entry.to_string();
    if text.chars().any(char::is_control) {
        text = text.chars().fold(String::with_capacity(text.len() + 16), |mut escaped, c| {
            if c.is_control() {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                escaped.push(c);
            }
            escaped
        });
    }
    text.push('\n');
    text
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// Control characters would let a caller forge lines or drive a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[expect(clippy::disallowed_methods, reason = "a log line says when it was written; no logic depends on it")]
fn timestamp() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(SystemTime::now())
}

#[cfg(test)]
mod tests;
