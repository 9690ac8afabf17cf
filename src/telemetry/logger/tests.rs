use super::*;

fn line<'a>(path: &'a str, method: &'a Method) -> RequestLine<'a> {
    RequestLine {
        request_id: "0123",
        trace_id: "105445aa7843bc8bf206b12000100000",
        trace_sampled: true,
        method,
        path,
        host: "gw.example",
        protocol: "HTTP/1.1",
        client: [192, 0, 2, 1].into(),
        user_agent: "curl/8\"\n",
        status: 403,
        sent: 120,
        latency: Duration::from_millis(1234),
        location: Some("/admin"),
        identity: Some("ada@example.com"),
        step: "authorize",
        refusal: Some("forbidden"),
        cause: None,
    }
}

fn log(project: Option<&str>) -> RequestLog {
    let lines = Lines::to_stderr().unwrap();
    let log = RequestLog { lines, json: true, requests: LogRequests::Refused, project: Arc::default() };
    if let Some(project) = project {
        log.set_project(project.to_owned());
    }
    log
}

#[test]
fn json_lines_have_the_types_that_cloud_logging_reads() {
    let text = log(Some("my-project")).json_line(&line("/admin", &Method::GET));
    assert_eq!(text.matches('\n').count(), 1);
    let entry: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(entry["severity"], "NOTICE");
    assert_eq!(entry["message"], "GET /admin 403 forbidden");
    assert!(humantime::parse_rfc3339(entry["time"].as_str().unwrap()).is_ok());
    assert_eq!(
        entry["logging.googleapis.com/trace"],
        "projects/my-project/traces/105445aa7843bc8bf206b12000100000"
    );
    assert_eq!(entry["logging.googleapis.com/trace_sampled"], true);
    let request = &entry["httpRequest"];
    assert_eq!(request["status"], 403);
    assert_eq!(request["responseSize"], "120");
    assert_eq!(request["latency"], "1.234000s");
    assert_eq!(request["requestUrl"], "//gw.example/admin");
    assert_eq!(request["userAgent"], "curl/8\"\n");
    for (key, value) in [
        ("step", "authorize"),
        ("refusal", "forbidden"),
        ("location", "/admin"),
        ("identity", "ada@example.com"),
    ] {
        assert_eq!(entry[key], value);
    }
}

#[test]
fn the_severity_follows_the_status() {
    let severity = |status| severity_of(&RequestLine { status, ..line("/", &Method::GET) });
    assert_eq!(
        [severity(200), severity(302), severity(404), severity(503)],
        ["INFO", "INFO", "NOTICE", "ERROR"]
    );
}

#[test]
fn text_lines_cannot_be_forged() {
    let text = text_line(&line("/a\r\n2026-11-23 ERROR forged \u{1b}[31m", &Method::GET));
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(!text.contains('\r') && !text.contains('\u{1b}'), "{text}");
    assert!(text.contains("as ada@example.com") && text.contains("id=0123"), "{text}");
}

#[test]
fn the_setting_decides_which_requests_have_a_line() {
    let wants = |requests| {
        let log = RequestLog { requests, ..log(None) };
        (log.wants(true), log.wants(false))
    };
    assert_eq!(wants(LogRequests::All), (true, true));
    assert_eq!(wants(LogRequests::Refused), (true, false));
    assert_eq!(wants(LogRequests::None), (false, false));
}
