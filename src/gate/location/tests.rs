use super::*;
use crate::config::{Access, AllowEncoded, LocationLimits, Timeouts};
use std::time::Duration;

fn location(path: &str) -> Location {
    let second = Duration::from_secs(1);
    let resolved = match path.strip_prefix("= ") {
        Some(exact) => LocationPath::Exact(exact.to_owned()),
        None => LocationPath::Prefix(path.to_owned()),
    };
    Location {
        name: path.to_owned(),
        path: resolved,
        host: None,
        methods: vec![],
        access: Access::Public,
        rewrite: None,
        upstream: 0,
        timeouts: Timeouts { connect: second, read: second, write: second, idle: second },
        cors: None,
        max_body: None,
        allow_encoded: AllowEncoded::default(),
        limits: LocationLimits::default(),
        adapt: None,
        message: None,
    }
}

fn routed(locations: &[Location], host: &str, path: &str, method: &Method) -> Option<String> {
    match Router::new(locations).route(host, path, method) {
        Route::Found(id) => Some(locations[id.0].name.clone()),
        Route::WrongMethod(candidates) => Some(format!("405 {}", allowed_methods(candidates))),
        Route::NotFound => None,
    }
}

#[test]
fn the_longest_match_wins_whatever_the_order() {
    let mut paths = ["/", "/app", "/app/", "/app/admin", "= /app/admin", "/anonymous/", "= /"];
    for _ in 0..paths.len() {
        paths.rotate_left(1);
        let locations: Vec<Location> = paths.iter().map(|path| location(path)).collect();
        let rows = [
            ("/", "= /"),
            ("/x", "/"),
            ("/apple", "/"),
            ("/app", "/app"),
            ("/app/", "/app/"),
            ("/app/x", "/app/"),
            ("/app/x/y/z", "/app/"),
            ("/app/admin", "= /app/admin"),
            ("/app/admin/", "/app/admin"),
            ("/app/admin/x", "/app/admin"),
            ("/app/administrator", "/app/"),
            ("/anonymous", "/"),
            ("/anonymous/", "/anonymous/"),
            ("/anonymous/x", "/anonymous/"),
            ("/anonymousX", "/"),
        ];
        for (path, expected) in rows {
            assert_eq!(routed(&locations, "", path, &Method::GET).as_deref(), Some(expected), "{path}");
        }
    }
}

/// A path may have tens of thousands of segments, and hashing every prefix of it would take seconds.
#[test]
fn the_work_depends_on_the_configured_paths_and_not_on_the_sent_one() {
    let locations = [location("/"), location("/ä/"), location("/a")];
    let router = Router::new(&locations);
    let long = "/a".repeat(32_000);
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(router.route("", &long, &Method::GET), Route::Found(LocationId(2)));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    // The longest prefix ends within a character of the path.
    assert_eq!(routed(&locations, "", "/aä€ü/x", &Method::GET).as_deref(), Some("/"));
    assert_eq!(routed(&locations, "", "/ä/€", &Method::GET).as_deref(), Some("/ä/"));
    assert_eq!(routed(&[location("/ä")], "", "/ä/€", &Method::GET).as_deref(), Some("/ä"));
    assert_eq!(routed(&[location("/ab")], "", "/€€", &Method::GET), None);
}

#[test]
fn a_path_without_a_location_has_none() {
    let locations = [location("/app"), location("= /exact")];
    for path in ["/", "/exact/", "/exactly", "/ap", "/APP"] {
        assert_eq!(routed(&locations, "", path, &Method::GET), None, "{path}");
    }
}

#[test]
fn locations_of_the_host_come_first() {
    let admin =
        Location { host: Some("admin.example".to_owned()), name: "admin /".to_owned(), ..location("/") };
    let locations = [location("/static/"), admin, location("/")];
    assert_eq!(routed(&locations, "admin.example", "/static/x", &Method::GET).as_deref(), Some("admin /"));
    assert_eq!(routed(&locations, "other.example", "/static/x", &Method::GET).as_deref(), Some("/static/"));
    assert_eq!(routed(&locations, "", "/x", &Method::GET).as_deref(), Some("/"));
}

#[test]
fn a_host_without_a_location_for_the_path_falls_back_to_those_of_all_hosts() {
    let api = Location { host: Some("api.example".to_owned()), name: "api".to_owned(), ..location("/v1") };
    let locations = [api, location("/")];
    assert_eq!(routed(&locations, "api.example", "/v2", &Method::GET).as_deref(), Some("/"));
}

#[test]
fn a_method_that_the_longest_path_does_not_take_is_refused() {
    let post = Location { methods: vec![Method::POST], name: "post".to_owned(), ..location("/hook") };
    let get = Location { methods: vec![Method::GET], name: "get".to_owned(), ..location("/hook") };
    let locations = [location("/"), post.clone()];
    assert_eq!(routed(&locations, "", "/hook", &Method::POST).as_deref(), Some("post"));
    assert_eq!(routed(&locations, "", "/hook", &Method::GET).as_deref(), Some("405 POST"));
    let locations = [post.clone(), get.clone()];
    assert_eq!(routed(&locations, "", "/hook/x", &Method::HEAD).as_deref(), Some("get"));
    assert_eq!(routed(&locations, "", "/hook/x", &Method::PUT).as_deref(), Some("405 GET, POST"));
    let any = Location { name: "any".to_owned(), ..location("/hook") };
    let locations = [any, post, get];
    assert_eq!(routed(&locations, "", "/hook", &Method::POST).as_deref(), Some("post"));
    assert_eq!(routed(&locations, "", "/hook", &Method::PUT).as_deref(), Some("any"));
}

#[test]
fn rewriting_replaces_the_matched_part_and_keeps_the_rest_as_it_was_sent() {
    let rewritten = |path: &str, to: &str, raw: &str, query| {
        rewrite(&Location { rewrite: Some(to.to_owned()), ..location(path) }, raw, query).unwrap()
    };
    assert_eq!(rewritten("/zapier/signal", "/engine/signal", "/zapier/signal", None), "/engine/signal");
    assert_eq!(
        rewritten("/zapier/signal", "/engine/signal", "/zapier/signal/x%20y", Some("a=b")),
        "/engine/signal/x%20y?a=b"
    );
    assert_eq!(rewritten("/zapier", "/", "/z%61pier/x", None), "/x");
    assert_eq!(rewritten("/slack/", "/signal", "/slack/", None), "/signal");
    assert_eq!(rewritten("/slack/", "/signal", "/slack/x", None), "/signal/x");
    assert_eq!(rewritten("/slack/", "/signal/", "/slack/x", None), "/signal/x");
    assert_eq!(rewritten("/", "/base", "/x", None), "/base/x");
    assert_eq!(rewritten("/", "/base", "/", None), "/base");
    assert_eq!(rewritten("= /a", "/b", "/a", Some("")), "/b?");
    assert_eq!(rewritten("/café", "/c", "/caf%C3%A9/x", None), "/c/x");
    assert_eq!(rewrite(&location("/"), "/x", None), None);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn slow_longest(paths: &[&str], path: &str) -> Option<String> {
        let takes = |prefix: &str| {
            path == prefix
                || (path.starts_with(prefix)
                    && (prefix.ends_with('/') || path[prefix.len()..].starts_with('/')))
        };
        paths
            .iter()
            .filter(|prefix| takes(prefix))
            .max_by_key(|prefix| prefix.len())
            .map(|prefix| (*prefix).to_owned())
    }

    proptest! {
        /// The table finds what a scan of all locations would find.
        #[test]
        fn the_table_agrees_with_a_scan(path in "/[ab/]{0,8}") {
            let paths = ["/", "/a", "/a/", "/a/b", "/b/", "/b/a/b", "/ab"];
            let locations: Vec<Location> = paths.iter().map(|path| location(path)).collect();
            prop_assert_eq!(routed(&locations, "", &path, &Method::GET), slow_longest(&paths, &path));
        }
    }
}
