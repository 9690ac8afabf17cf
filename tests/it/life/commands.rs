//! The commands that serve nothing: `check`, `explain`, and a `dev` that must not run.

use crate::harness::gateway::Setup;

const YAML: &str = "public_url: https://gw.example.test
google: { client_id: 1-a.apps.googleusercontent.com }
allow: { domains: [example.com], service_accounts: [robot@p.iam.gserviceaccount.com] }
upstreams:
  up: { url: 'https://up.example.test', audience: 'https://up.example.test' }
locations:
  - { path: /public/, access: public, upstream: up }
  - { path: /hook, methods: [POST], access: google, rewrite: /engine/hook, upstream: up }
  - { path: /, access: google, upstream: up }
";

fn run(arguments: &[&str]) -> (i32, String) {
    let gateway = Setup::new(YAML).arguments(arguments).launch();
    let (code, _) = gateway.wait();
    (code, gateway.output())
}

fn explain(arguments: &[&str]) -> String {
    let all = [&["explain", "--config", "portcullis.yaml"][..], arguments].concat();
    let (code, output) = run(&all);
    assert_eq!(code, 0, "{output}");
    output
}

#[test]
fn check_says_good_or_all_that_is_wrong() {
    let (code, output) = run(&["check", "--config", "portcullis.yaml"]);
    let (good, risk) = (
        "portcullis.yaml: good (3 locations, 1 upstream)\n",
        "portcullis.yaml:9:31: locations[0].access: warning: ",
    );
    assert!(code == 0 && output.contains(good) && output.contains(risk), "{output}");
    let (code, output) = run(&["check", "--config", "portcullis.yaml", "--strict"]);
    assert!(code == 2 && !output.contains(good) && output.contains(risk), "{output}");
    assert!(output.contains("1 warning, which --strict does not accept"), "{output}");
    let (code, output) = run(&["check", "--config", "none.yaml"]);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("none.yaml"), "{output}");
    for arguments in [&["serve"][..], &[], &["run", "--port", "1"], &["explain", "GET"]] {
        assert_eq!(run(arguments).0, 2, "{arguments:?}");
    }
}

#[test]
fn explain_tells_the_way_of_a_request() {
    assert_eq!(
        explain(&["GET", "/public/x?q=1"]),
        "GET /public/x?q=1
admit         the path is /public/x
              /public/                         takes it
              /hook [POST]                     another path
              /                                matches too; a longer or exact path comes first
route         location /public/
authenticate  not asked for: the location is public
mint          a token for https://up.example.test
forward       https://up.example.test/public/x?q=1  (upstream up)
              Host: up.example.test
              X-Serverless-Authorization: Bearer <the minted token>
              X-Forwarded-For: …
              X-Forwarded-Proto: …
              X-Forwarded-Host: …
              X-Real-IP: …
              X-Request-Id: …
              traceparent: …
"
    );
    let nobody = explain(&["GET", "/x"]);
    assert!(
        nobody.contains("no credential: pages are sent to Google sign-in (302), all else gets 401"),
        "{nobody}"
    );
    assert!(
        nobody.contains(
            "who would pass: domains example.com; service accounts robot@p.iam.gserviceaccount.com"
        ),
        "{nobody}"
    );
    assert!(!nobody.contains("forward "), "{nobody}");
}

#[test]
fn explain_and_the_gate_agree_on_who_passes() {
    for (email, verdict) in [
        ("ada@example.com", "passes"),
        ("ADA@Example.Com", "passes"),
        ("robot@p.iam.gserviceaccount.com", "passes"),
        ("other@p.iam.gserviceaccount.com", "refused with 403 forbidden"),
        ("mallory@evil.test", "refused with 403 forbidden"),
        ("ada@sub.example.com", "refused with 403 forbidden"),
    ] {
        let output = explain(&["GET", "/x", "--as", email]);
        assert!(output.contains(&format!("authorize     {verdict}")), "{email}: {output}");
    }
    let output = explain(&["POST", "/hook", "--as", "ada@example.com"]);
    assert!(output.contains("forward       https://up.example.test/engine/hook"), "{output}");
    assert!(
        output.contains("X-Goog-Authenticated-User-Email: accounts.google.com:ada@example.com"),
        "{output}"
    );
    for (arguments, says) in [
        (["GET", "/public/../x"], "admit         refused with 400 bad_request"),
        (["GET", "/public/a%2fb"], "route         refused with 400 bad_request"),
        (["GET", "/.portcullis/health"], "one of the gateway's own endpoints"),
    ] {
        let output = explain(&arguments);
        assert!(output.contains(says), "{arguments:?}: {output}");
        assert!(!output.contains("forward "), "{arguments:?}: {output}");
    }
}

/// Whoever clicks is signed in there, so it must not be reachable by anybody else.
#[test]
fn dev_stays_on_a_developers_machine() {
    for name in ["K_SERVICE", "K_REVISION", "CLOUD_RUN_JOB"] {
        let gateway = Setup::new(YAML).env(name, "x").arguments(&["dev", "--listen", "127.0.0.1:0"]).launch();
        assert_eq!(gateway.wait().0, 2, "{}", gateway.output());
        assert!(
            gateway.output().contains(&format!("does not start on Cloud Run ({name} is set)")),
            "{}",
            gateway.output()
        );
        assert!(!gateway.output().contains("listening on"));
    }
    for address in ["0.0.0.0:0", "[::]:0"] {
        let gateway = Setup::new(YAML).arguments(&["dev", "--listen", address]).launch();
        assert_eq!(gateway.wait().0, 2, "{}", gateway.output());
        assert!(gateway.output().contains("listens on loopback only"), "{}", gateway.output());
    }
    // And a name of Cloud Run does not keep the real thing from starting.
    let gateway = Setup::new(YAML).env("K_SERVICE", "x").start();
    assert!(gateway.alive());
}
