//! A disk that cannot synchronise, for the real binary: a library that is loaded before the C library.

use std::path::Path;
use std::process::Command;

use super::SENDERS;
use super::gateway::{Gateway, Setup};
use super::ledger::Ledger;
use super::random::Random;
use super::senders::{Senders, post_one};
use super::upstream::{Mood, Upstream};

/// Compiles the library. Not when there is no C compiler.
fn compile(to: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/fsync.c");
    let compilers = ["cc", "gcc", "clang"].iter();
    let mut outputs = compilers.filter_map(|name| {
        Command::new(name).args(["-shared", "-fPIC", "-O1", "-o"]).arg(to).arg(&source).output().ok()
    });
    let Some(output) = outputs.next() else { return false };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn while_fsync_fails_nothing_is_acknowledged() {
    let mut random = Random::chosen("fsync fails");
    let ledger = Ledger::new();
    let upstream = Upstream::start(&ledger, random.fork(), Mood::Moody);
    let mut setup = Setup::new(&upstream);
    let (library, fails) = (setup.path("fsync.so"), setup.path("fails"));
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || !compile(&library) {
        eprintln!("skipped: there is no C compiler, or the binary loads no library");
        return;
    }
    let environment = [("LD_PRELOAD", library), ("FSYNC_FAILS_WHILE", fails.clone())];
    setup.environment = environment.map(|(name, path)| (name.to_owned(), path)).into();
    let mut gateway = Gateway::start(&setup);
    gateway.is_ready();
    let senders = Senders::start(SENDERS, &setup, &ledger, &mut random, super::small_or_large);
    for _ in 0..3 {
        ledger.more(100, |counts| counts.acknowledged);
        std::fs::write(&fails, "").unwrap();
        ledger.more(100, |counts| counts.refused);
        gateway.lives();
        // Whatever was under way when it began to fail has been answered by now.
        let before = ledger.counts();
        for _ in 0..20 {
            post_one(&setup, &ledger, &mut random, 1000);
        }
        let after = ledger.counts();
        assert_eq!(before.acknowledged, after.acknowledged, "acknowledged without fsync");
        assert!(after.refused >= before.refused + 20, "{after}");
        std::fs::remove_file(&fails).unwrap();
    }
    ledger.more(100, |counts| counts.acknowledged);
    senders.stop();
    gateway.drains(&ledger);
    let counts = ledger.examine();
    eprintln!("fsync failed three times: {counts}");
    gateway.ends();
}
