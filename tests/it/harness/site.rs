//! A whole site as people find it: the gateway under a public URL of its own, the stand-in for Google that the
//! `dev` command brings along, and services behind the gateway.

use std::time::Duration;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use portcullis::dev::echo::Echo;
use portcullis::dev::google::{AccessTokenSpec, Options, StandIn};

use super::background;
use super::gateway::{Gateway, Setup};
use super::http::Client;
use super::upstream::Upstream;

/// The OAuth client of the site.
pub(crate) const CLIENT: &str = "1234-site.apps.googleusercontent.com";

/// How people sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    AccessToken,
    IdToken,
}

impl Flow {
    fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::IdToken => "id_token",
        }
    }
}

/// A site before it starts.
pub(crate) struct Plan {
    flow: Flow,
    cookie: &'static str,
    upstreams: String,
    locations: String,
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

/// The running site.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) google: StandIn,
    /// Behind every path without another location.
    pub(crate) echo: Echo,
    /// Behind `/open/`, for everybody.
    pub(crate) open: Upstream,
    /// As the browser names it, such as `http://localhost:21234`.
    pub(crate) origin: String,
}

impl Plan {
    pub(crate) fn new(flow: Flow) -> Self {
        Self {
            flow,
            cookie: "__Host-portcullis",
            upstreams: String::new(),
            locations: String::new(),
            files: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Names the session cookie.
    #[must_use]
    pub(crate) fn cookie(mut self, name: &'static str) -> Self {
        self.cookie = name;
        self
    }

    /// Adds an upstream with a location of the same name, for members of the domain. `settings` are those of the
    /// upstream, `more` those of the location.
    #[must_use]
    pub(crate) fn upstream(mut self, name: &str, settings: &str, more: &str) -> Self {
        self.upstreams.push_str(&format!("  {name}: {{ {settings} }}\n"));
        let location = format!("  - {{ path: /{name}, access: google, upstream: {name}{more} }}\n");
        self.locations.push_str(&location);
        self
    }

    /// Adds a location as a line of YAML without its dash.
    #[must_use]
    pub(crate) fn location(mut self, line: &str) -> Self {
        self.locations.push_str(&format!("  - {line}\n"));
        self
    }

    /// A file beside the configuration.
    #[must_use]
    pub(crate) fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }

    /// An environment variable of the gateway.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) async fn start(self) -> Site {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let google = background::run(StandIn::start(any, Options::default())).await.unwrap();
        let echo = background::run(Echo::start(any)).await.unwrap();
        let open = Upstream::start();
        let port = free_port();
        let yaml = self.yaml(port, &google, &echo, &open);
        let mut setup = Setup::new(&yaml);
        for (path, content) in &self.files {
            setup = setup.file(path, content);
        }
        for (name, value) in &self.environment {
            setup = setup.env(name, value);
        }
        Site { gateway: setup.start(), google, echo, open, origin: format!("http://localhost:{port}") }
    }

    fn yaml(&self, port: u16, google: &StandIn, echo: &Echo, open: &Upstream) -> String {
        let Self { flow, cookie, upstreams, locations, .. } = self;
        format!(
            "listen: 127.0.0.1:{port}
public_url: http://localhost:{port}
log: {{ format: text, level: debug, requests: all }}
accept_risks: [public_token]
google:
  client_id: {CLIENT}
  endpoints:
    authorization: {authorization}
    tokeninfo: {tokeninfo}
    certs: {certs}
    revocation: {revocation}
    metadata: {metadata}
login: {{ flow: {flow}, cookie: {cookie} }}
allow: {{ domains: [example.com] }}
upstreams:
  echo: {{ url: \"{echo}\" }}
  open: {{ url: \"{open}\" }}
{upstreams}locations:
  - {{ path: /open/, access: public, upstream: open }}
{locations}  - {{ path: /, access: google, upstream: echo }}
",
            authorization = google.authorization(),
            tokeninfo = google.tokeninfo(),
            certs = google.certs(),
            revocation = google.revocation(),
            metadata = google.metadata(),
            flow = flow.name(),
            echo = echo.base_url(),
            open = open.url(),
        )
    }
}

impl Site {
    pub(crate) async fn start(flow: Flow) -> Self {
        Plan::new(flow).start().await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// An access token of one of the stand-in's people, issued to this site.
    pub(crate) fn token(&self, email: &str) -> String {
        self.token_for(email, Duration::from_secs(3600))
    }

    /// An access token that ends sooner.
    pub(crate) fn token_for(&self, email: &str, lifetime: Duration) -> String {
        let person = self.google.account(email).unwrap();
        let spec = AccessTokenSpec { lifetime, ..AccessTokenSpec::person(person, CLIENT) };
        self.google.issue_access_token(&spec)
    }

    /// The token of a member of the domain.
    pub(crate) fn member(&self) -> String {
        self.token("ada@example.com")
    }

    /// The same as a header's value.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.member())
    }

    /// The paths (with queries) that reached the echo.
    pub(crate) fn echoed(&self) -> Vec<String> {
        self.echo.requests().into_iter().map(|request| request.target).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let output = self.gateway.output();
        let leak = output.lines().find(|line| line.contains("ya29.") || line.contains("eyJ"));
        assert!(leak.is_none(), "the gateway's output holds a token: {}", leak.unwrap_or_default());
    }
}

/// A port that the public URL can name before the gateway listens on it. The system hands out ports from 32768
/// on by itself, so none below is taken in the meantime by a listener or a connection that asked for any.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 131 % u32::from(COUNT)).unwrap();
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::SeqCst)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
