//! Secrets from the stand-in for Google, from files and from the environment.
#![cfg(feature = "dev")]

use std::path::PathBuf;

use super::*;
use crate::config::SecretSource;
use crate::dev::google::{Endpoint, Fault, Options, StandIn, VersionState};
use crate::google_api::GoogleApi;
use crate::metadata::MetadataServer;
use crate::outbound::Outbound;

const SLACK: &str = "projects/example-project/secrets/slack";

struct World {
    google: StandIn,
    manager: Arc<SecretManager>,
    now: UnixTime,
}

impl World {
    async fn new() -> Self {
        let google = StandIn::start("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap();
        let outbound = Arc::new(Outbound::default());
        let metadata = Arc::new(MetadataServer::new(Arc::clone(&outbound), google.metadata()));
        let api = Arc::new(GoogleApi::new(outbound, metadata));
        let manager = Arc::new(SecretManager::new(api, Some(google.secret_manager())));
        Self { google, manager, now: UnixTime::now() }
    }

    async fn load(&self, sources: &[SecretSource]) -> (Secrets, Vec<SecretProblem>) {
        let reference = |(number, source): (usize, &SecretSource)| SecretRef {
            name: format!("s{number}"),
            source: source.clone(),
            refresh: Duration::from_secs(300),
        };
        let references: Vec<_> = sources.iter().enumerate().map(reference).collect();
        Secrets::load(&references, &self.manager, None, self.now).await
    }

    async fn one(&self, version: &str) -> Secrets {
        let (secrets, problems) = self.load(&[managed(version)]).await;
        assert_eq!(problems, []);
        secrets
    }

    fn after(&self, seconds: u64) -> UnixTime {
        UnixTime(self.now.0 + seconds)
    }

    /// Reads of Secret Manager so far, once there are this many.
    async fn reads(&self, wanted: usize) -> usize {
        while self.google.calls(Endpoint::SecretManager) < wanted {
            tokio::task::yield_now().await;
        }
        self.google.calls(Endpoint::SecretManager)
    }
}

fn managed(version: &str) -> SecretSource {
    SecretSource::SecretManager(format!("{SLACK}/versions/{version}"))
}

async fn text(secrets: &Secrets, now: UnixTime) -> String {
    secrets.value(0, now).await.unwrap().expose().to_owned()
}

fn status(status: u16) -> Fault {
    Fault::Answer { status, content_type: "application/json".to_owned(), body: String::new() }
}

#[tokio::test]
async fn values_come_from_all_three_places() {
    let world = World::new().await;
    world.google.add_secret_version(SLACK, b"first");
    world.google.add_secret_version(SLACK, b"second\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "from a file\n").unwrap();
    let variable = SecretSource::Environment { variable: "V".to_owned(), value: Secret::new("from outside") };
    let sources = [managed("latest"), managed("1"), SecretSource::File(path), variable];
    let (secrets, problems) = world.load(&sources).await;
    assert_eq!(problems, []);
    for (index, expected) in ["second", "first", "from a file", "from outside"].into_iter().enumerate() {
        assert_eq!(secrets.current(index).unwrap().expose(), expected);
        assert_eq!(secrets.value(index, world.now).await.unwrap().expose(), expected);
    }
    assert!(secrets.current(4).is_none() && secrets.value(4, world.now).await.is_err());
    let shown = format!("{secrets:?}");
    assert!(!shown.contains("second") && !shown.contains("from outside"), "{shown}");
}

#[tokio::test]
async fn whatever_an_operator_must_repair_is_told_at_once() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, value: &[u8]| {
        let name = format!("projects/example-project/secrets/{name}");
        world.google.add_secret_version(&name, value);
        (name.clone(), SecretSource::SecretManager(format!("{name}/versions/latest")))
    };
    let (denied, denied_source) = secret("denied", b"v");
    world.google.deny_secret(&denied, true);
    let (damaged, damaged_source) = secret("damaged", b"v");
    world.google.damage_secret(&damaged, true);
    let (disabled, disabled_source) = secret("disabled", b"v");
    assert!(world.google.set_secret_version(&disabled, 1, VersionState::Disabled));
    let (destroyed, destroyed_source) = secret("destroyed", b"v");
    assert!(world.google.set_secret_version(&destroyed, 1, VersionState::Destroyed));
    let empty_file = folder.path().join("empty");
    std::fs::write(&empty_file, "\n").unwrap();
    let rows = [
        (
            denied_source,
            "grant roles/secretmanager.secretAccessor on projects/example-project/secrets/denied ",
        ),
        (damaged_source, "checksum"),
        (disabled_source, "DISABLED state"),
        (destroyed_source, "DESTROYED state"),
        (managed("latest"), "404 NOT_FOUND"),
        (secret("empty", b"").1, "empty"),
        (secret("binary", b"\xff\xfe").1, "UTF-8"),
        (secret("large", &[b'a'; 64 * 1024 + 1]).1, "longer than 65536"),
        (SecretSource::File(PathBuf::from("/no/such/file")), "/no/such/file"),
        (SecretSource::File(empty_file), "empty"),
        (SecretSource::File(folder.path().to_owned()), "cannot be read"),
        (SecretSource::Environment { variable: "V".to_owned(), value: Secret::new("") }, "empty"),
    ];
    let (sources, expected): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let (_, problems) = world.load(&sources).await;
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for ((number, text), problem) in expected.into_iter().enumerate().zip(problems) {
        assert_eq!(problem.name, format!("s{number}"));
        assert!(matches!(problem.why, SecretError::Unusable(_)), "{problem}");
        assert!(problem.to_string().contains(text), "{text}: {problem}");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_reached_at_start_has_no_value_until_it_can() {
    let world = World::new().await;
    world.google.add_secret_version(SLACK, b"value");
    world.google.fail(Endpoint::SecretManager, status(503));
    let (secrets, problems) = world.load(&[managed("latest")]).await;
    assert!(matches!(problems[0].why, SecretError::Unreachable(_)), "{problems:?}");
    assert!(secrets.current(0).is_none());
    let tries = world.google.calls(Endpoint::SecretManager);
    assert!(tries > 2, "{tries}");
    let late = world.after(100);
    assert!(matches!(secrets.value(0, late).await, Err(SecretError::Unreachable(_))));
    world.google.clear_switches();
    assert!(secrets.value(0, world.after(104)).await.is_err(), "tried again at most every five seconds");
    assert_eq!(world.google.calls(Endpoint::SecretManager), tries + 1);
    assert_eq!(text(&secrets, world.after(105)).await, "value");
}

#[tokio::test]
async fn a_start_that_meets_a_short_failure_succeeds() {
    let world = World::new().await;
    world.google.add_secret_version(SLACK, b"value");
    world.google.fail_next(Endpoint::SecretManager, 2, Fault::Close);
    let secrets = world.one("latest").await;
    assert_eq!(secrets.current(0).unwrap().expose(), "value");
}

#[tokio::test]
async fn an_old_value_serves_while_it_is_read_again() {
    let world = World::new().await;
    world.google.add_secret_version(SLACK, b"old");
    let secrets = world.one("latest").await;
    world.google.add_secret_version(SLACK, b"new");
    assert_eq!(text(&secrets, world.after(299)).await, "old");
    assert_eq!(world.google.calls(Endpoint::SecretManager), 1);
    assert_eq!(text(&secrets, world.after(300)).await, "old", "nobody waits");
    assert_eq!(world.reads(2).await, 2);
    while secrets.current(0).unwrap().expose() == "old" {
        tokio::task::yield_now().await;
    }
    assert_eq!(text(&secrets, world.after(301)).await, "new");
}

#[tokio::test]
async fn a_value_stays_when_it_cannot_be_read_again() {
    let world = World::new().await;
    world.google.add_secret_version(SLACK, b"old");
    let secrets = world.one("latest").await;
    world.google.fail(Endpoint::SecretManager, status(500));
    assert_eq!(text(&secrets, world.after(300)).await, "old");
    assert_eq!(world.reads(2).await, 2);
    for second in 300..305 {
        assert_eq!(text(&secrets, world.after(second)).await, "old");
    }
    assert_eq!(world.google.calls(Endpoint::SecretManager), 2, "not tried again within five seconds");
    assert!(!secrets.reread(0, world.after(400)).await);
    assert_eq!(secrets.current(0).unwrap().expose(), "old");
}

#[tokio::test]
async fn a_wrong_signature_has_the_value_read_again_now_and_then() {
    let world = World::new().await;
    world.google.add_secret_version(SLACK, b"old");
    let secrets = Arc::new(world.one("latest").await);
    assert!(!secrets.reread(0, world.after(20)).await, "it is the same");
    world.google.add_secret_version(SLACK, b"new");
    assert!(!secrets.reread(0, world.after(29)).await, "not within ten seconds");
    assert_eq!(world.google.calls(Endpoint::SecretManager), 2);
    world.google.delay(Endpoint::SecretManager, Duration::from_millis(50));
    let now = world.after(30);
    let all: Vec<_> = (0..20)
        .map(|_| {
            let secrets = Arc::clone(&secrets);
            tokio::spawn(async move { secrets.reread(0, now).await })
        })
        .collect();
    for one in all {
        assert!(one.await.unwrap(), "those who wait for the same read learn of the change");
    }
    assert_eq!(world.google.calls(Endpoint::SecretManager), 3);
    assert_eq!(secrets.current(0).unwrap().expose(), "new");
}

#[tokio::test]
async fn what_cannot_change_is_read_once() {
    let world = World::new().await;
    world.google.add_secret_version(SLACK, b"value");
    let variable = SecretSource::Environment { variable: "V".to_owned(), value: Secret::new("v") };
    let (secrets, problems) = world.load(&[managed("1"), variable]).await;
    assert_eq!(problems, []);
    for index in 0..2 {
        assert!(secrets.value(index, world.after(1_000_000)).await.is_ok());
        assert!(!secrets.reread(index, world.after(1_000_000)).await);
    }
    assert_eq!(world.google.calls(Endpoint::SecretManager), 1);
}
