//! A gateway between one upstream and a stand-in for Google, and how rows of the tables are judged.

use crate::harness::gateway::Gateway;
use crate::harness::glue::{self, DOMAIN, StandIn};
use crate::harness::http::{Client, Response};
use crate::harness::raw::{End, RawResponse, exchange};
use crate::harness::upstream::Upstream;

/// What a test has to do with. `/public/` is open, everything else is for members of the domain.
pub(super) struct World {
    pub(super) upstream: Upstream,
    pub(super) standin: StandIn,
    pub(super) gateway: Gateway,
}

/// What must become of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// 400 with the code `bad_request`: nobody can say what the request means.
    BadRequest,
    /// 401: understood, but without a credential.
    Unauthorized,
    /// Any refusal by status, where more than one is right.
    Denied,
    /// As `Denied`, or the connection is closed without a word: the message cannot be framed.
    Unframed,
    /// 400 and the end of the connection: what follows on it could be body or request.
    Closed,
}

/// A row: its name, the bytes that are sent, what must become of them.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) wire: Vec<u8>,
    pub(super) expect: Expect,
}

impl Row {
    pub(super) fn new(name: &str, wire: impl Into<Vec<u8>>, expect: Expect) -> Self {
        Self { name: name.to_owned(), wire: wire.into(), expect }
    }

    /// A `GET` of a target, written as it is.
    pub(super) fn get(name: &str, target: &str, expect: Expect) -> Self {
        let name = format!("{name}: {target}");
        Self { name, wire: request(&format!("GET {target} HTTP/1.1"), &[], ""), expect }
    }

    /// A `GET` of `/admin` with further header lines.
    pub(super) fn admin(name: &str, lines: &[&str]) -> Self {
        let wire = request("GET /admin HTTP/1.1", lines, "");
        Self::new(&format!("{name}: {}", lines.join(" | ")), wire, Expect::Unauthorized)
    }
}

/// A request with a `Host` line, further lines and a body, none of which is checked or completed.
pub(super) fn request(line: &str, lines: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{line}\r\nHost: gw.test\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

impl World {
    pub(super) fn start() -> Self {
        Self::with_locations("")
    }

    /// With further locations, each a line of YAML that is indented by two.
    pub(super) fn with_locations(further: &str) -> Self {
        let upstream = Upstream::start();
        let standin = StandIn::start();
        let gateway = Gateway::start(&glue::configuration(&standin, &upstream, further));
        Self { upstream, standin, gateway }
    }

    /// A client of the gateway.
    pub(super) fn client(&self) -> Client {
        Client::new(self.gateway.address())
    }

    /// The token of a member of the domain.
    pub(super) fn member(&self) -> String {
        self.standin.issue(&format!("ada@{DOMAIN}"))
    }

    pub(super) async fn exchange(&self, wire: &[u8]) -> (Vec<RawResponse>, End) {
        exchange(self.gateway.address(), wire).await
    }

    /// Every row must be refused as it says, and none may reach the upstream. All failures are shown at once.
    pub(super) async fn refuses(&self, rows: Vec<Row>) {
        assert!(!rows.is_empty());
        let mut failures = Vec::new();
        for row in rows {
            self.upstream.forget();
            let (responses, _) = self.exchange(&row.wire).await;
            if let Some(wrong) = judge(&row, &responses) {
                failures.push(format!("{}: {wrong}", row.name));
            }
            let seen: Vec<_> = self.upstream.requests().iter().map(|request| request.line()).collect();
            if self.upstream.bytes() > 0 {
                failures.push(format!("{}: reached the upstream as {seen:?}", row.name));
            }
            if !self.gateway.alive() {
                failures.push(format!("{}: the gateway died", row.name));
                break;
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
        self.still_serves().await;
    }

    /// The gateway still does its work.
    pub(super) async fn still_serves(&self) {
        self.upstream.forget();
        let response: Response = self.client().get("/public/still").send().await;
        assert_eq!(response.status, 200, "the gateway no longer serves: {}", response.text());
        assert_eq!(self.upstream.only().path(), "/public/still");
    }

    /// Nothing but public paths has reached the upstream.
    #[track_caller]
    pub(super) fn assert_only_public(&self, what: &str) {
        for request in self.upstream.requests() {
            let path = request.path();
            let public = super::routes::reading(&path).first().is_some_and(|segment| segment == "public");
            assert!(public, "{what}: {path} reached the upstream");
        }
    }
}

fn judge(row: &Row, responses: &[RawResponse]) -> Option<String> {
    if responses.is_empty() {
        return (row.expect != Expect::Unframed).then(|| "no answer".to_owned());
    }
    if responses.len() > 1 {
        let statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
        return Some(format!("{} answers, {statuses:?}", responses.len()));
    }
    let (status, code) = (responses[0].status, responses[0].code());
    let right = match row.expect {
        Expect::BadRequest => status == 400 && code.as_deref() == Some("bad_request"),
        Expect::Unauthorized => status == 401 && responses[0].header("www-authenticate").is_some(),
        Expect::Denied => (400..500).contains(&status),
        // 501 and 505 are what RFC 9112 has for codings and versions that are not known.
        Expect::Unframed => (400..500).contains(&status) || matches!(status, 501 | 505),
        Expect::Closed => status == 400 && responses[0].header("connection").as_deref() == Some("close"),
    };
    (!right).then(|| format!("expected {:?}, got {status} with code {code:?}", row.expect))
}
