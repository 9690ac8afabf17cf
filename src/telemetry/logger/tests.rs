use super::*;

fn line<'a>(path: &'a str, method: &'a Method) -> RequestLine<'a> {
    RequestLine {
        request_id: "0123",
        trace_id: "105445aa7843bc8bf206b12000100000",
        trace_sampled: true,
        span_id: "37aab46b1e5bd440",
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
        audit: None,
    }
}

fn log(project: Option<&str>) -> RequestLog {
    let lines = Lines::to_stderr(json_notice).unwrap();
    let (requests, informs) = (LogRequests::Refused, true);
    let log = RequestLog { lines, json: true, requests, informs, project: Arc::default() };
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
    assert_eq!(entry["logging.googleapis.com/spanId"], "37aab46b1e5bd440");
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
        (log.wants(true, false), log.wants(false, false))
    };
    assert_eq!(wants(LogRequests::All), (true, true));
    assert_eq!(wants(LogRequests::Refused), (true, false));
    assert_eq!(wants(LogRequests::None), (false, false));
    let audited = |informs| {
        let log = RequestLog { requests: LogRequests::None, informs, ..log(None) };
        (log.wants(true, true), log.wants(false, true))
    };
    assert_eq!((audited(true), audited(false)), ((true, true), (false, false)));
}

#[test]
fn what_is_audited_is_told_in_both_formats() {
    let audit = Audit::SignOut { who: Some("ada@example.com".into()), revoked: Some(false) };
    let line = RequestLine { audit: Some(&audit), status: 200, refusal: None, ..line("/x", &Method::POST) };
    let entry: Value = serde_json::from_str(&log(None).json_line(&line)).unwrap();
    assert_eq!(
        (&entry["severity"], &entry["audit"], &entry["revoked"]),
        (&json!("NOTICE"), &json!("sign_out"), &json!(false))
    );
    assert!(text_line(&line).contains(" audit=sign_out revoked=false "), "{}", text_line(&line));
}

#[test]
fn fields_of_a_line_are_kept() {
    let pairs = [("request_id", "0123")];
    let arguments = format_args!("it failed");
    let record =
        Record::builder().level(Level::Warn).target("portcullis").args(arguments).key_values(&pairs).build();
    let entry: Value = serde_json::from_str(&json_record(&record)).unwrap();
    assert_eq!((&entry["request_id"], &entry["severity"]), (&json!("0123"), &json!("WARNING")));
    assert!(text_record(&record).ends_with("WARN  it failed request_id=0123\n"));
}

#[test]
fn that_lines_were_dropped_is_said_in_the_format_of_the_others() {
    let entry: Value = serde_json::from_str(&json_notice(7)).unwrap();
    assert!(entry["message"].as_str().unwrap().starts_with("7 log lines") && entry["time"].is_string());
    assert!(text_notice(7).contains(" WARN  7 log lines were dropped") && text_notice(7).ends_with('\n'));
}
