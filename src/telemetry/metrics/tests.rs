use super::*;

fn ended(location: Option<usize>, outcome: Outcome, status: u16) -> Ended {
    Ended {
        location,
        outcome,
        status,
        refusal: None,
        whole: Duration::from_millis(300),
        gateway: Duration::from_micros(200),
        upstream: None,
    }
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|candidate| candidate == line), "{line} is not in:\n{text}");
}

#[test]
fn every_counter_is_rendered_under_its_own_name() {
    let metrics = Metrics::new();
    let locations = metrics.locations(["/app"]);
    metrics.count_call(Service::Metadata, CallOutcome::Failed, Duration::from_millis(3));
    metrics.count_call(Service::Metadata, CallOutcome::Failed, Duration::from_millis(3));
    metrics.count_token(TokenLook::Coalesced);
    metrics.count_spans(SpanOutcome::Dropped, 3);
    metrics.count_upstream_connection(&locations, 0, true);
    metrics.connections().inc();
    let text = metrics.render();
    has(&text, "portcullis_requests_total{location=\"/app\",outcome=\"forwarded\",status=\"2xx\"} 0");
    has(&text, "portcullis_outbound_calls_total{outcome=\"failed\",service=\"metadata\"} 2");
    has(&text, "portcullis_outbound_duration_seconds_bucket{service=\"metadata\",le=\"0.005\"} 2");
    has(&text, "portcullis_token_cache_total{result=\"coalesced\"} 1");
    has(&text, "portcullis_spans_total{outcome=\"dropped\"} 3");
    has(&text, "portcullis_upstream_connections_total{connection=\"reused\",location=\"/app\"} 1");
    has(&text, "portcullis_connections 1");
    has(&text, &format!("portcullis_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_request_is_counted_at_its_location() {
    let metrics = Metrics::new();
    let locations = metrics.locations(["/app", "/"]);
    let upstream = Some(Duration::from_millis(40));
    metrics.count_request(&locations, &Ended { upstream, ..ended(Some(1), Outcome::Forwarded, 503) });
    let refusal = Some(("authorize", "forbidden"));
    metrics.count_request(&locations, &Ended { refusal, ..ended(Some(0), Outcome::Refused, 403) });
    metrics.count_request(&locations, &ended(None, Outcome::Failed, 0));
    metrics.count_request(&locations, &ended(Some(99), Outcome::Answered, 999));
    let text = metrics.render();
    for line in [
        "portcullis_requests_total{location=\"/\",outcome=\"forwarded\",status=\"5xx\"} 1",
        "portcullis_requests_total{location=\"/app\",outcome=\"refused\",status=\"4xx\"} 1",
        "portcullis_requests_total{location=\"none\",outcome=\"failed\",status=\"none\"} 1",
        "portcullis_requests_total{location=\"none\",outcome=\"answered\",status=\"none\"} 1",
        "portcullis_refusals_total{code=\"forbidden\",location=\"/app\",step=\"authorize\"} 1",
        "portcullis_upstream_duration_seconds_bucket{location=\"/\",le=\"0.025\"} 0",
        "portcullis_upstream_duration_seconds_bucket{location=\"/\",le=\"0.05\"} 1",
        "portcullis_upstream_duration_seconds_count{location=\"/app\"} 0",
        "portcullis_gateway_duration_seconds_bucket{location=\"/app\",le=\"0.00025\"} 1",
        "portcullis_request_duration_seconds_bucket{location=\"/app\",le=\"0.25\"} 0",
        "portcullis_request_duration_seconds_bucket{location=\"/app\",le=\"+Inf\"} 1",
    ] {
        has(&text, line);
    }
}

#[test]
fn what_others_keep_is_asked_for_each_time() {
    let metrics = Metrics::default();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(7));
    let kept = std::sync::Arc::clone(&count);
    metrics.add_source(move || {
        let value = kept.load(std::sync::atomic::Ordering::Relaxed) as f64;
        let reading =
            |outcome: &str| Reading::counter("attempts_total", "Tries.", value).label("outcome", outcome);
        vec![reading("good \"\\\n"), reading("bad"), Reading::gauge("depth", "Entries.", -0.5)]
    });
    let text = metrics.render();
    has(&text, "attempts_total{outcome=\"good \\\"\\\\\\n\"} 7");
    has(&text, "depth -0.5");
    assert_eq!(text.matches("# TYPE attempts_total counter\n").count(), 1, "{text}");
    count.store(8, std::sync::atomic::Ordering::Relaxed);
    has(&metrics.render(), "attempts_total{outcome=\"bad\"} 8");
}

#[test]
fn locations_of_one_name_are_counted_together() {
    let metrics = Metrics::new();
    let locations = metrics.locations(["/app", "/app"]);
    metrics.count_request(&locations, &ended(Some(0), Outcome::Forwarded, 200));
    metrics.count_request(&locations, &ended(Some(1), Outcome::Forwarded, 200));
    let line = "portcullis_requests_total{location=\"/app\",outcome=\"forwarded\",status=\"2xx\"} 2";
    has(&metrics.render(), line);
}
