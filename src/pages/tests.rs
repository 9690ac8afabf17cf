//! Every page: escaped, forbidding itself what it does not need, and small. The rendered pages are left under
//! `target/pages`, to be looked at.

use super::*;

const HOSTILE: &str = "\"><svg onload=alert(1)>'&";

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// All pages with this value in every place that takes one.
fn pages(value: &str) -> Vec<(&'static str, Reply)> {
    let link = format!("/{value}");
    let actions = [Action { label: value, href: &link }, Action { label: value, href: value }];
    let (code, request_id, email, another) = (value, value, value, link.as_str());
    let sign_in_page = SignIn {
        heading: value,
        text: value,
        start: &link,
        onward: Some(&link),
        another: Some(&link),
        site: value,
    };
    let who = WhoAmI {
        email,
        subject: Some(value),
        hosted_domain: Some(value),
        service_account: true,
        expires: value,
        until: value,
        another,
    };
    let refused = Problem { title: value, detail: value, code, request_id };
    vec![
        ("sign-in", sign_in(StatusCode::OK, &sign_in_page)),
        ("callback", callback()),
        ("sign-out", sign_out(true)),
        ("signed-out", signed_out(Withdrawal::Failed)),
        ("whoami", who_am_i(&who)),
        ("problem", problem(StatusCode::BAD_REQUEST, &refused, &actions)),
        ("forbidden", forbidden(&Forbidden { email, return_path: &link, code, request_id })),
    ]
}

#[test]
fn every_value_is_escaped() {
    let plain = pages("plain");
    for ((name, page), (_, harmless)) in pages(HOSTILE).iter().zip(&plain) {
        let body = text(page);
        assert!(!body.contains("<svg onload"), "{name}");
        assert!(!body.contains(HOSTILE), "{name}");
        // Not one element or attribute more than with a harmless value.
        let count = |text: &str, mark: char| text.chars().filter(|letter| *letter == mark).count();
        for mark in ['<', '>', '"', '\''] {
            assert_eq!(count(&body, mark), count(&text(harmless), mark), "{name}: {mark}");
        }
    }
}

#[test]
fn the_policy_names_what_is_on_the_page() {
    for (name, page) in pages("x") {
        let body = text(&page);
        let policy = page.get(&CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
        let between = |open: &str, close: &str| {
            assert!(body.matches(open).count() <= 1, "{name}");
            body.split_once(open).map(|(_, rest)| rest.split_once(close).unwrap().0.to_owned())
        };
        let style = source(&between("<style>", "</style>").unwrap());
        assert!(policy.contains(&format!("style-src {style};")), "{name}: {policy}");
        match between("<script>", "</script>") {
            Some(script) => {
                assert!(policy.contains(&format!("script-src {};", source(&script))), "{name}: {policy}");
            }
            None => assert!(policy.contains("script-src 'none';"), "{name}: {policy}"),
        }
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        let onwards = if name == "callback" { "form-action 'self' https:;" } else { "form-action 'self';" };
        assert!(policy.contains(onwards), "{name}: {policy}");
        for part in ["base-uri 'none'", "frame-ancestors 'none'", "img-src data:"] {
            assert!(policy.contains(part), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(
            !body.contains(" style=") && !body.contains(" onclick=") && !body.contains("javascript:"),
            "{name}"
        );
    }
}

#[test]
fn every_page_has_the_headers_of_a_page() {
    for (name, page) in pages("x") {
        for (header, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            let header = HeaderName::from_static(header);
            assert_eq!(page.get(&header).unwrap(), value, "{name}");
            assert_eq!(
                page.headers.iter().filter(|(candidate, _)| *candidate == header).count(),
                1,
                "{name}"
            );
        }
    }
}

#[test]
fn every_page_is_small_and_stands_alone() {
    for (name, page) in pages("x") {
        let body = text(&page);
        assert!(body.len() < 8 * 1024, "{name}: {} bytes", body.len());
        for part in [
            "<!doctype html>",
            "<html lang=\"en\">",
            "<main>",
            "<h1>",
            "name=\"viewport\"",
            "prefers-color-scheme",
        ] {
            assert!(body.contains(part), "{name}: {part}");
        }
        assert_eq!(body.matches("<main>").count(), 1, "{name}");
        let foreign: Vec<_> = ["src=", "@import", "url(", "<link rel=\"stylesheet"]
            .into_iter()
            .filter(|m| body.contains(m))
            .collect();
        assert!(foreign.is_empty(), "{name}: {foreign:?}");
    }
}

#[test]
fn actions_lead_nowhere_else() {
    for href in ["https://evil.com/", "//evil.com/", "javascript:alert(1)", "", "relative"] {
        let actions = [Action { label: "Go", href }];
        let refused = Problem { title: "t", detail: "d", code: "c", request_id: "r" };
        assert!(!text(&problem(StatusCode::NOT_FOUND, &refused, &actions)).contains(">Go<"), "{href}");
    }
}

#[test]
fn the_sign_in_link_is_encoded() {
    assert_eq!(sign_in_link("/", false), "/.portcullis/login?return=%2F");
    assert_eq!(
        sign_in_link("/a?b=1&c=ä", true),
        "/.portcullis/login?choose=1&return=%2Fa%3Fb%3D1%26c%3D%C3%A4"
    );
}

#[test]
fn the_callback_script_keeps_the_token_out_of_the_address() {
    let replaced = SCRIPT.find("history.replaceState").unwrap();
    assert!(replaced < SCRIPT.find("form.submit").unwrap());
    for word in ["innerHTML", "eval", "document.cookie", "localStorage", "console", "fetch", "XMLHttpRequest"]
    {
        assert!(!SCRIPT.contains(word), "{word}");
    }
    let body = text(&callback());
    assert!(
        body.contains("<noscript>")
            && body.contains("This page is part of signing in")
            && body.contains("href=\"/\"")
    );
}

#[test]
fn statuses_are_those_of_the_cause() {
    let page = Forbidden {
        email: "ada@example.com",
        return_path: "/app?x=1",
        code: "not_allowed",
        request_id: "r-1",
    };
    let reply = forbidden(&page);
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let body = text(&reply);
    assert!(body.contains("ada@example.com") && body.contains("r-1"));
    assert!(body.contains("/.portcullis/login?choose=1&#38;return=%2Fapp%3Fx%3D1"), "{body}");
    assert!(text(&signed_out(Withdrawal::NotAsked)).contains("choose=1"));
    assert!(text(&sign_out(true)).contains("name=\"revoke\"") && !text(&sign_out(false)).contains("revoke"));
}

/// Leaves the pages with believable values, so that they can be looked at.
#[test]
fn render_for_the_eye() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(&directory).unwrap();
    let request_id = "0b6f2a9c41d84e7f9a35c2d7e8f01b64";
    let email = "ada.lovelace@example.com";
    let start = sign_in_link("/app", false);
    let sign_in_page = SignIn {
        heading: "Please sign in again",
        text: "Google needs to hear from you before it can confirm who you are.",
        start: &start,
        onward: None,
        another: Some(&start),
        site: "gw.example.com",
    };
    let who = WhoAmI {
        email,
        subject: Some("110169484474386276334"),
        hosted_domain: Some("example.com"),
        service_account: false,
        expires: "2026-11-18T11:06:40Z",
        until: "11:06 UTC, in 43 minutes",
        another: &start,
    };
    let refused = Problem {
        title: "Google cannot be reached just now",
        detail: "This says nothing about your account. Please try again in a moment.",
        code: "provider_unavailable",
        request_id,
    };
    let actions = [Action { label: "Try again", href: "/" }];
    let seen = Forbidden { email, return_path: "/app", code: "not_allowed", request_id };
    for (name, page) in [
        ("sign-in", sign_in(StatusCode::OK, &sign_in_page)),
        ("callback", callback()),
        ("sign-out", sign_out(true)),
        ("signed-out", signed_out(Withdrawal::NotAsked)),
        ("signed-out-failed", signed_out(Withdrawal::Failed)),
        ("whoami", who_am_i(&who)),
        ("problem", problem(StatusCode::SERVICE_UNAVAILABLE, &refused, &actions)),
        ("forbidden", forbidden(&seen)),
    ] {
        std::fs::write(directory.join(name).with_extension("html"), &page.body).unwrap();
    }
}
