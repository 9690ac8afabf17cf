//! Paths that two readers understand differently, and headers that claim another path.

use super::world::{Expect, Row, World, request};
use Expect::{BadRequest, Denied, Unauthorized};

#[tokio::test]
async fn a_query_does_not_make_a_path_public() {
    let world = World::start();
    let name = "CVE-2025-54576";
    let targets = [
        "/admin?x=/public/",
        "/admin?/public/",
        "/admin?x=/public/status",
        "/api/private/keys?x=/status",
        "/admin/?../public/",
        "/admin?%2fpublic%2f",
        "/?/public/",
        "/admin?a=1;b=2",
        "/admin?x=%2e%2e",
        "/publicity",
        "/public.html",
        "/Public/",
        "/PUBLIC/x",
        "/publi%63x/",
        "/x/public/",
        "/%61dmin",
        "/admi%6E",
    ];
    world.refuses(targets.iter().map(|target| Row::get(name, target, Unauthorized)).collect()).await;
}

#[tokio::test]
async fn dot_segments_are_refused() {
    let world = World::start();
    let name = "CVE-2026-33494, GHSA-xcx5-93pw-jw2w, CVE-2021-29492";
    let targets = [
        "/public/../admin/secrets",
        "/public/./../admin",
        "/public//../admin",
        "/public/x/../../admin",
        "/../admin",
        "/public/..",
        "/public/./../x",
        "/public/%2e%2e/admin",
        "/public/%2E%2E/admin",
        "/public/.%2e/admin",
        "/public/%2e./admin",
        "/public/x/%2e%2E/../admin",
        "/admin/../public/",
        "/admin/%2e%2e/public/x",
        "/public/../../../../etc/passwd",
        "/public/..?x",
        "/public/%2e%2e?x=1",
    ];
    world.refuses(targets.iter().map(|target| Row::get(name, target, BadRequest)).collect()).await;
}

#[tokio::test]
async fn encoded_separators_are_refused() {
    let world = World::start();
    let name = "CVE-2021-29492";
    let targets = [
        "/public%2F..%2Fadmin",
        "/public%2f..%2fadmin",
        "/public%5C..%5Cadmin",
        "/public%5c..%5cadmin",
        "/public/%252e%252e/admin",
        "/public/%252E%252E/admin",
        "/public%252f..%252fadmin",
        "/public/%25252e%25252e/admin",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public/%2e%2e%2fadmin",
        "/public/x%2fy",
        "/admin%2fx",
        "/public/%00",
        "/public/%00/../admin",
        "/admin%00.png",
        "/public/x%00",
        "/public\\..\\admin",
        "/public/..\\admin",
        "/\\admin",
        "/public/%5c",
        "/public/%2F",
        "/%2fadmin",
        "/%2Fpublic/",
        "/public/%25%32%65%25%32%65/admin",
        "/public/a%252fb",
        "/public/100%2525",
    ];
    world.refuses(targets.iter().map(|target| Row::get(name, target, BadRequest)).collect()).await;
}

#[tokio::test]
async fn parameters_and_empty_segments_are_refused() {
    let world = World::start();
    let name = "CVE-2026-73511, CVE-2026-73553";
    let targets = [
        "/admin;x=y/action",
        "/public;/../admin",
        "/;/admin",
        "/public/..;/admin",
        "/public/..;x=y/admin",
        "/admin;",
        "/public/;/admin",
        "/public;x",
        "/public/x;jsessionid=1",
        "/public/%3b",
        "/public/..%3b/admin",
        "/admin%3Bx=y",
        "/public/.;/admin",
        "//public/",
        "//admin",
        "/public//admin",
        "/public//",
        "///admin",
        "//evil.test/admin",
        "/public/x//..//admin",
        "/;//public/",
    ];
    world.refuses(targets.iter().map(|target| Row::get(name, target, BadRequest)).collect()).await;
}

#[tokio::test]
async fn what_is_no_path_is_refused() {
    let world = World::start();
    let name = "CVE-2021-39206";
    let targets = [
        "/public/%",
        "/public/%2",
        "/public/%zz",
        "/public/%u002e",
        "/admin%",
        "/public/%c0%af",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%e0%80%af",
        "/public/%f0%80%80%af",
        "/public/%ff",
        "/public/%ed%a0%80",
        "/public/%c3",
        "/public/%C0%AF..%C0%AFadmin",
        "/%c0%aeadmin",
    ];
    let mut rows: Vec<_> = targets.iter().map(|target| Row::get(name, target, BadRequest)).collect();
    // Bytes that have no business in a request line; some engines refuse them before anything looks at the path.
    let raws: [&[u8]; 8] = [
        b"GET /admin\x00 HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET /admin\x01 HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET /public/\t../admin HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET /public/ /admin HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET\t/admin HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET /public/\xc0\xaf../admin HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET /admin\xff HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET /public/\x7f HTTP/1.1\r\nHost: gw.test\r\n\r\n",
    ];
    for raw in raws {
        rows.push(Row::new(&format!("own: {}", raw.escape_ascii()), raw, Expect::Unframed));
    }
    world.refuses(rows).await;
}

/// CVE-2021-39206: Pingora cuts a fragment off before we see the target. Nobody may read it differently: what
/// decides is the path before it, and that path alone goes on.
#[tokio::test]
async fn a_fragment_neither_decides_nor_travels_on() {
    let world = World::start();
    for (target, expected) in [
        ("/admin#frag", None),
        ("/admin#/../public/", None),
        ("/admin?x#/public/", None),
        ("/public/#/../admin", Some("/public/")),
        ("/public/x#", Some("/public/x")),
        ("/public/x?a=1#/admin", Some("/public/x?a=1")),
    ] {
        world.upstream.forget();
        let wire = request(&format!("GET {target} HTTP/1.1"), &[], "");
        let (responses, _) = world.exchange(&wire).await;
        let status = if expected.is_some() { 200 } else { 401 };
        assert_eq!(
            responses.iter().map(|response| response.status).collect::<Vec<_>>(),
            [status],
            "{target}"
        );
        let seen: Vec<_> = world.upstream.requests().iter().map(|request| request.target()).collect();
        assert_eq!(seen, Vec::from_iter(expected), "{target}");
    }
    world.still_serves().await;
}

#[tokio::test]
async fn targets_in_other_forms_give_no_way_around() {
    let world = World::start();
    let mut rows: Vec<_> = [
        "http://gw.test/admin",
        "http://public/admin",
        "HTTP://gw.test/admin",
        "http://gw.test//admin",
        "http://public@gw.test/admin",
        "http://gw.test:80/admin",
        "http://gw.test/public/../admin",
        "https://evil.test/admin",
        "http://evil.test/public%2f..%2fadmin",
        "http:///admin",
        "http://gw.test?/public/",
        "ftp://gw.test/admin",
        "file:///admin",
        "admin",
        "public/../admin",
        "*",
        "?/public/",
        "@/admin",
        "http://gw.test\\@evil.test/admin",
        "http://user:password@gw.test/admin",
    ]
    .iter()
    .map(|target| Row::get("own: form of the target", target, Expect::Unframed))
    .collect();
    let hosts = [
        ["Host: gw.test", "Host: public"].as_slice(),
        &["host: gw.test"],
        &["Host: gw.test", "HOST: gw.test"],
        &["Host: gw.test, public"],
    ];
    for lines in hosts {
        // `request` has a Host line already, so that each of these is at least the second.
        rows.push(Row::new("own: several hosts", request("GET /admin HTTP/1.1", lines, ""), Denied));
        rows.push(Row::new("own: several hosts", request("GET /public/ HTTP/1.1", lines, ""), Denied));
    }
    // The engine waits for the 24 bytes of HTTP/2's preface before it reads a request, hence the second line.
    let none = b"GET /admin HTTP/1.1\r\nAccept: */*\r\n\r\n";
    rows.push(Row::new("own: no host", none.as_slice(), Denied));
    for host in ["user@gw.test", "gw.test/public", "gw.test\\public", "gw test", "gw.test#", "gw.test?x", ""]
    {
        let wire = format!("GET /admin HTTP/1.1\r\nHost: {host}\r\n\r\n");
        rows.push(Row::new(&format!("own: host {host:?}"), wire, Denied));
    }
    world.refuses(rows).await;
}

#[tokio::test]
async fn headers_that_claim_another_path_change_nothing() {
    let world = World::start();
    let mut rows = Vec::new();
    for name in [
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-Envoy-Original-Path",
        "X-Original-Path",
        "X-Auth-Request-Redirect",
        "X-Script-Name",
        "X-HTTP-Method-Override",
        "X-Accel-Redirect",
        "Forwarded",
        "X-Override-URL",
        "x-envoy-decorator-operation",
        "X_Original_URL",
        "x-FORWARDED-uri",
        "Referer",
        "X-Proxy-Url",
        "Destination",
    ] {
        for value in ["/public/", "/public/x", "/healthz", "/.portcullis/health", "http://gw.test/public/"] {
            rows.push(Row::admin("CVE-2026-40575, CVE-2026-76835", &[&format!("{name}: {value}")]));
        }
    }
    world.refuses(rows).await;
}

#[tokio::test]
async fn no_user_agent_and_no_address_is_a_credential() {
    let world = World::start();
    let mut rows = Vec::new();
    for agent in [
        "GoogleHC/1.0",
        "kube-probe/1.30",
        "GoogleStackdriverMonitoring-UptimeChecks",
        "ELB-HealthChecker/2.0",
    ] {
        rows.push(Row::admin("CVE-2026-34457", &[&format!("User-Agent: {agent}")]));
    }
    for line in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "X-Forwarded-For: 10.0.0.1, 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "X-CloudScheduler: true",
        "X-Goog-Authenticated-User-Email: a:ada@example.com",
        "X-Forwarded-Email: ada@example.com",
        "X-AppEngine-Cron: true",
        "X-Serverless-Authorization: Bearer junk",
        "X-Portcullis-Identity: ada@example.com",
        "Proxy-Authorization: Basic YTpi",
        "X-Forwarded-User: ada",
    ] {
        rows.push(Row::admin("own: claims", &[line]));
    }
    rows.push(Row::admin("CVE-2021-39206", &["X-Forwarded-Host: a", "X-Forwarded-Host: b"]));
    world.refuses(rows).await;
}
