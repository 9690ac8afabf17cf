//! A gateway between the recording upstream and the project's own stand-in for Google, which issues any token
//! and misbehaves on demand.

use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};

use portcullis::dev::google::{AccessTokenSpec, CLIENT_ID, Endpoint, Fault, Options, StandIn};
use serde_json::Value;

use super::background::{self, Task, eventually};
use super::gateway::{Gateway, Setup};
use super::http::{Call, Client, Response};
use super::upstream::Upstream;

/// How the gateways under test are named by their callers.
pub(crate) const PUBLIC_URL: &str = "https://gw.example.test";
/// A second OAuth client whose tokens are accepted.
pub(crate) const PARTNER: &str = "5678-partner.apps.googleusercontent.com";

/// A stand-in on the fixtures' runtime.
pub(crate) fn stand_in(options: Options) -> (StandIn, Task) {
    let (sender, receiver) = mpsc::channel();
    let task = background::spawn(async move {
        let started = StandIn::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).await;
        sender.send(started.unwrap()).ok();
        std::future::pending::<()>().await;
    });
    (receiver.recv().unwrap(), task)
}

/// An address of this machine where nobody listens.
pub(crate) fn closed() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What a world is made of. Each part is YAML, or the beginning of it.
pub(crate) struct Plan {
    pub(crate) log: &'static str,
    pub(crate) allow: &'static str,
    pub(crate) cache: &'static str,
    /// Further top-level lines.
    pub(crate) further: String,
    /// Members of the upstream's map after its URL, each with a leading comma.
    pub(crate) upstream: &'static str,
    /// Where the upstream is, when it is not the recording one.
    pub(crate) upstream_url: Option<String>,
    /// Where an endpoint of Google is, when it is not the stand-in's: name and URL; without one it is left out.
    pub(crate) endpoint: Option<(&'static str, String)>,
    /// Further locations, each a line that is indented by two.
    pub(crate) locations: &'static str,
    /// Further upstreams, each a line that is indented by two.
    pub(crate) upstreams: String,
    /// Further locations that are made up while the test runs.
    pub(crate) hooks: String,
    /// Files beside the configuration.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Environment of the gateway.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Faults from before the gateway starts.
    pub(crate) faults: Vec<(Endpoint, Fault)>,
    /// Secrets from before the gateway starts, in Secret Manager.
    pub(crate) secrets: Vec<(&'static str, String)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            log: "{ format: json, level: trace, requests: all }",
            allow: "{ domains: [example.com], service_accounts: [robot@example-project.iam.gserviceaccount.com] }",
            cache: "{ verified: 60s, rejected: 10s }",
            further: String::new(),
            upstream: "",
            upstream_url: None,
            endpoint: None,
            locations: "",
            upstreams: String::new(),
            hooks: String::new(),
            files: Vec::new(),
            environment: Vec::new(),
            faults: Vec::new(),
            secrets: Vec::new(),
        }
    }
}

impl Plan {
    /// The configuration.
    pub(crate) fn yaml(&self, google: &StandIn, upstream: &Upstream) -> String {
        let endpoint = |name: &str, own: String| match &self.endpoint {
            Some((other, url)) if *other == name && url.is_empty() => String::new(),
            Some((other, url)) if *other == name => format!("    {name}: {url}\n"),
            _ => format!("    {name}: {own}\n"),
        };
        let endpoints: String = [
            endpoint("authorization", google.authorization().to_string()),
            endpoint("tokeninfo", google.tokeninfo().to_string()),
            endpoint("certs", google.certs().to_string()),
            endpoint("revocation", google.revocation().to_string()),
            endpoint("metadata", google.metadata().to_string()),
            endpoint("secret_manager", google.secret_manager().to_string()),
            endpoint("pubsub", google.pubsub().to_string()),
        ]
        .concat();
        let url = self.upstream_url.clone().unwrap_or_else(|| upstream.url());
        let Self { log, allow, cache, further, locations, upstreams, hooks, .. } = self;
        format!(
            "public_url: {PUBLIC_URL}\ntrusted_hops: 1\naccept_risks: [public_token]\nlog: {log}\n{further}\
             google:\n  client_id: {CLIENT_ID}\n  accepted_clients: [{PARTNER}]\n  endpoints:\n{endpoints}\
             allow: {allow}\ncache: {cache}\nupstreams:\n  up: {{ url: \"{url}\"{} }}\n{upstreams}\
             locations:\n  - {{ path: /public/, access: public, upstream: up }}\n  - {{ path: /, access: google, upstream: up }}\n{locations}{hooks}",
            self.upstream
        )
    }

    /// Starts everything.
    pub(crate) fn start(self) -> World {
        World::with(&self, |setup| setup)
    }

    /// Starts everything, and does not wait for the gateway.
    pub(crate) fn launch(self) -> World {
        World::launch_with(&self, |setup| setup)
    }
}

/// What a test has to do with. `/public/` is open; the rest is for members of `example.com` and one robot.
pub(crate) struct World {
    pub(crate) google: StandIn,
    pub(crate) upstream: Upstream,
    pub(crate) gateway: Gateway,
    secrets: Mutex<Vec<String>>,
    _task: Task,
}

impl World {
    pub(crate) fn start() -> Self {
        Plan::default().start()
    }

    /// A world whose gateway is set up in some further way.
    pub(crate) fn with(plan: &Plan, more: impl FnOnce(Setup) -> Setup) -> Self {
        let world = Self::launch_with(plan, more);
        world.gateway.listens();
        world
    }

    fn launch_with(plan: &Plan, more: impl FnOnce(Setup) -> Setup) -> Self {
        let (google, task) = stand_in(Options::default());
        let upstream = Upstream::start();
        for (endpoint, fault) in &plan.faults {
            google.fail(*endpoint, fault.clone());
        }
        for (name, value) in &plan.secrets {
            google.add_secret_version(name, value.as_bytes());
        }
        let mut setup = Setup::new(&plan.yaml(&google, &upstream));
        for (path, text) in &plan.files {
            setup = setup.file(path, text);
        }
        for (name, value) in &plan.environment {
            // The stand-in's address is known only now.
            setup = setup.env(name, &value.replace("{google}", &google.address().to_string()));
        }
        Self { google, upstream, gateway: more(setup).launch(), secrets: Mutex::default(), _task: task }
    }

    /// A client of the gateway.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.gateway.address())
    }

    /// Remembers something that must not turn up in the gateway's output.
    pub(crate) fn keep_secret(&self, secret: &str) -> String {
        self.secrets.lock().unwrap().push(secret.to_owned());
        secret.to_owned()
    }

    /// A good access token of a person or service account.
    pub(crate) fn access(&self, email: &str) -> String {
        self.access_with(email, |_| {})
    }

    /// An access token that says something else than usual.
    pub(crate) fn access_with(&self, email: &str, change: impl FnOnce(&mut AccessTokenSpec)) -> String {
        let account = self.google.account(email).expect("somebody of the stand-in");
        let mut spec = if account.is_service_account_email() {
            AccessTokenSpec::service_account(account)
        } else {
            AccessTokenSpec::person(account, CLIENT_ID)
        };
        change(&mut spec);
        self.keep_secret(&self.google.issue_access_token(&spec))
    }

    /// The claims of a good ID token: for our client, or of a service account for our URL.
    pub(crate) fn claims(&self, email: &str) -> Value {
        let account = self.google.account(email).expect("somebody of the stand-in");
        let audience = if account.is_service_account_email() { PUBLIC_URL } else { CLIENT_ID };
        self.google.claims(account, audience)
    }

    /// An ID token whose claims say something else than usual.
    pub(crate) fn id_token(&self, email: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims(email);
        change(&mut claims);
        self.keep_secret(&self.google.issue_id_token(&claims, None))
    }

    /// An ID token whose header says something else than usual, signed all the same.
    pub(crate) fn id_token_headed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.google.id_token_header();
        change(&mut header);
        self.keep_secret(&self.google.issue_id_token(&self.claims("ada@example.com"), Some(&header)))
    }

    /// A table of requests.
    pub(crate) fn table(&self) -> Table<'_> {
        Table { world: self, rows: 0, failures: Vec::new() }
    }

    /// Asks again and again until the answer has this status; returns the first such answer.
    pub(crate) async fn until(&self, status: u16, call: impl Fn() -> Call) -> Response {
        background::within(&format!("status {status}"), async {
            loop {
                let response = call().send().await;
                if response.status == status {
                    return response;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// Waits until the gateway's own start-up calls are over, so that calls can be counted.
    pub(crate) async fn warm(&self) {
        let asked = || self.google.calls(Endpoint::Certs) > 0 && self.google.calls(Endpoint::Metadata) > 0;
        eventually("the calls of the start", asked).await;
        let response = self.client().get("/public/warm").send().await;
        assert_eq!(response.status, 200, "{}", response.text());
        self.upstream.forget();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let output = self.gateway.output();
        for secret in self.secrets.lock().unwrap().iter() {
            // The last part alone would be enough to replay a token with a known beginning.
            let tail = secret.rsplit('.').next().unwrap_or_default();
            let leaked = output.contains(secret.as_str()) || (tail.len() > 20 && output.contains(tail));
            assert!(!leaked, "the gateway's output holds a token:\n{output}");
        }
    }
}

/// Whether an account of the stand-in is a service account.
trait ServiceAccount {
    fn is_service_account_email(&self) -> bool;
}

impl ServiceAccount for portcullis::dev::google::Person {
    fn is_service_account_email(&self) -> bool {
        self.email.ends_with(".gserviceaccount.com")
    }
}

/// Rows that are judged one by one, each from an address of its own; all failures are shown at once.
pub(crate) struct Table<'a> {
    world: &'a World,
    rows: usize,
    failures: Vec<String>,
}

impl Table<'_> {
    fn next(&mut self, call: Call) -> Call {
        self.rows += 1;
        self.world.upstream.forget();
        call.header("x-forwarded-for", &format!("10.1.{}.{}", self.rows / 250, self.rows % 250 + 1))
    }

    /// The row is refused with this status and code, and nothing has reached the upstream.
    pub(crate) async fn refused(&mut self, name: &str, call: Call, status: u16, code: &str) {
        let response = self.next(call).send().await;
        let (got, body) = (response.status.as_u16(), response.text());
        if got != status || !body.contains(&format!("\"code\":\"{code}\"")) {
            self.failures.push(format!("{name}: expected {status} {code}, got {got}: {body}"));
        }
        if self.world.upstream.bytes() > 0 {
            self.failures.push(format!("{name}: reached the upstream"));
        }
    }

    /// The row passes to the upstream.
    pub(crate) async fn passes(&mut self, name: &str, call: Call) {
        let response = self.next(call).send().await;
        if response.status != 200 || self.world.upstream.count() != 1 {
            let seen = self.world.upstream.count();
            self.failures.push(format!("{name}: {}, seen {seen}: {}", response.status, response.text()));
        }
    }

    /// A bearer at `/x`.
    pub(crate) async fn bearer(&mut self, name: &str, token: &str, expect: (u16, &str)) {
        let call = self.world.client().get("/x").bearer(token);
        match expect {
            (200, _) => self.passes(name, call).await,
            (status, code) => self.refused(name, call, status, code).await,
        }
    }

    /// All rows were right, and the gateway still serves.
    pub(crate) async fn finish(self) {
        let Self { world, rows, failures } = self;
        assert!(rows > 0);
        assert!(failures.is_empty(), "{} of {rows} rows:\n{}", failures.len(), failures.join("\n"));
        let response = world.client().get("/public/still").send().await;
        assert_eq!(response.status, 200, "the gateway no longer serves: {}", response.text());
    }
}
