//! Messages as Slack and GitHub send them, each another one, and a configuration that takes them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use portcullis::time::UnixTime;
use ring::hmac;

pub(crate) const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Slack,
    Github,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Github => "github",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Slack => "/slack/command",
            Self::Github => "/github",
        }
    }
}

/// A message with its signature.
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Message {
    pub(crate) fn new(kind: Kind, size: usize, now: UnixTime) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let body = match kind {
            Kind::Slack => form(number, size),
            Kind::Github => event(number, size),
        };
        let (prefix, signed) = match kind {
            Kind::Slack => ("v0=", format!("v0:{}:{body}", now.0)),
            Kind::Github => ("sha256=", body.clone()),
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        let digits: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let signature = format!("{prefix}{digits}");
        let headers = match kind {
            Kind::Slack => vec![
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)".to_owned()),
                ("x-slack-request-timestamp", now.0.to_string()),
                ("x-slack-signature", signature),
            ],
            Kind::Github => vec![
                ("content-type", "application/json".to_owned()),
                ("user-agent", "GitHub-Hookshot/1234567".to_owned()),
                ("x-github-event", "push".to_owned()),
                ("x-github-delivery", format!("{number:032x}")),
                ("x-hub-signature-256", signature),
            ],
        };
        let value = |text: String| HeaderValue::try_from(text).expect("it is ASCII");
        let mut map = HeaderMap::new();
        map.insert("host", HeaderValue::from_static("gw.example.com"));
        map.insert("accept", HeaderValue::from_static("*/*"));
        for (name, text) in headers {
            map.insert(name, value(text));
        }
        Self { headers: map, body: body.into() }
    }
}

/// A slash command. Slack's own have one long field; those of more than 4000 characters are refused by the adapter, so
/// that large ones have several.
fn form(number: u64, size: usize) -> String {
    let mut form = format!(
        "token=gIkuvaNzQIHg97ATvDxqgjtO&team_id=T0001&team_domain=example&channel_id=C2147483705&channel_name=test\
         &user_id=U2147483697&user_name=Steve&command=%2Fweather&api_app_id=A123456&is_enterprise_install=false\
         &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F1234%2F5678&trigger_id=13345224609.{number:020}"
    );
    let mut field = 0;
    while form.len() < size {
        form.push_str(&format!("&text{field}="));
        let room = size.saturating_sub(form.len()).min(3000);
        let words = "tomorrow+in+M%C3%BCnchen+".chars().cycle();
        // A cut in the middle of an escape would be no form.
        form.extend(words.take(room / 25 * 25));
        form.extend(std::iter::repeat_n('x', room % 25));
        field += 1;
    }
    form
}

/// An event with as many commits as fit.
fn event(number: u64, size: usize) -> String {
    let commit = r#"{"id":"0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c","distinct":true,"message":"Update README.md","timestamp":"2015-05-05T19:40:15-04:00","author":{"name":"baxterthehacker","email":"baxterthehacker@users.noreply.github.com"},"added":[],"removed":[],"modified":["README.md"]}"#;
    let mut event = format!(r#"{{"ref":"refs/heads/changes","after":"{number:040x}","commits":["#);
    while event.len() + commit.len() < size {
        event.push_str(commit);
        event.push(',');
    }
    event.push_str("{}]}");
    event
}

/// Writes a configuration, and returns its file.
pub(crate) fn configuration(directory: &Path, upstream: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = format!(
        "version: 1
listen: 127.0.0.1:0
log: {{ format: text, level: info, requests: none }}
secrets: {{ hook: {{ file: hook.secret }} }}
wal:
  disk: {{ directory: {}, max_size: 100GiB }}
  retry: {{ concurrency: 1 }}
upstreams: {{ up: {{ url: '{upstream}', audience: none, timeouts: {{ read: 1h }} }} }}
locations:
  - path: {}
    methods: [POST]
    access: webhook
    webhook: {{ slack: {{ secret: hook }} }}
    adapt: {root}/conf/adapters/slack-command.jq
    wal: true
    reply: {{ json: {{ response_type: in_channel }} }}
    upstream: up
  - path: {}
    methods: [POST]
    access: webhook
    webhook: {{ github: {{ secret: hook }} }}
    wal: true
    playback: {{ keep: [X-GitHub-Event] }}
    upstream: up
",
        directory.join("wal").display(),
        Kind::Slack.path(),
        Kind::Github.path()
    );
    let file = directory.join("portcullis.yaml");
    std::fs::write(&file, text).expect("the directory can be written");
    std::fs::write(directory.join("hook.secret"), SECRET).expect("the directory can be written");
    file
}
