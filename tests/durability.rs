//! Nothing that got its 2xx is lost: the real binary is killed at random points, its disk runs full and its fsync fails,
//! while eight senders post signed messages and an upstream takes them, mostly.
//!
//! SIGKILL leaves what the system has in its page cache. What is lost with the machine's power is the business of
//! `src/wal/disk/tests/faults.rs`, which forgets what was not synchronised.
//!
//! `PORTCULLIS_KILLS` says how often the gateway is killed (20), `PORTCULLIS_SEED` repeats a former run's choices.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and a panic says where; its threads serve nobody else, and may sleep"
)]

#[path = "durability/fsync.rs"]
mod fsync;
#[path = "durability/full.rs"]
mod full;
#[path = "durability/gateway.rs"]
mod gateway;
#[path = "durability/ledger.rs"]
mod ledger;
#[path = "durability/random.rs"]
mod random;
#[path = "durability/senders.rs"]
mod senders;
#[path = "durability/upstream.rs"]
mod upstream;

use std::time::Duration;

use gateway::{Gateway, Setup};
use ledger::Ledger;
use random::Random;
use senders::Senders;
use upstream::{Mood, Upstream};

/// How many post at the same time.
const SENDERS: usize = 8;

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let kills: u32 = std::env::var("PORTCULLIS_KILLS").map_or(20, |text| text.parse().unwrap());
    let mut random = Random::chosen("sigkill");
    let ledger = Ledger::new();
    let upstream = Upstream::start(&ledger, random.fork(), Mood::Moody);
    let setup = Setup::new(&upstream);
    let senders = Senders::start(SENDERS, &setup, &ledger, &mut random, small_or_large);
    let mut while_starting = 0;
    for _ in 0..kills {
        let mut gateway = Gateway::start(&setup);
        // One in four while it starts: what it does then to a log that was left as it was must bear that, too.
        let most = if random.below(4) == 0 {
            while_starting += 1;
            400
        } else {
            gateway.is_ready();
            1500
        };
        // How long it lives is what the test is about; nothing waits for anything here.
        std::thread::sleep(Duration::from_millis(random.below(most)));
        gateway.kill();
    }
    let mut gateway = Gateway::start(&setup);
    gateway.is_ready();
    ledger.more(50, |counts| counts.acknowledged);
    senders.stop();
    gateway.drains(&ledger);
    let counts = ledger.examine();
    eprintln!("killed {kills} times, {while_starting} of them while starting: {counts}");
    assert!(counts.acknowledged > u64::from(kills), "the gateway hardly took anything: {counts}");
    assert!(counts.unanswered > 0, "no kill hit a message: {counts}");
    gateway.ends();
}

/// Deliveries end at the last moment, and are noted all the same.
#[test]
fn a_gateway_that_is_stopped_delivers_nothing_twice() {
    let mut random = Random::chosen("sigterm");
    let ledger = Ledger::new();
    let upstream = Upstream::start(&ledger, random.fork(), Mood::Slow);
    let setup = Setup::new(&upstream);
    let senders = Senders::start(2, &setup, &ledger, &mut random, small_or_large);
    for _ in 0..5 {
        let mut gateway = Gateway::start(&setup);
        gateway.is_ready();
        ledger.more(20 + random.below(20), |counts| counts.delivered);
        gateway.ends();
    }
    let mut gateway = Gateway::start(&setup);
    gateway.is_ready();
    ledger.more(20, |counts| counts.delivered);
    senders.stop();
    upstream.set(Mood::Moody);
    gateway.drains(&ledger);
    let counts = ledger.examine();
    eprintln!("stopped five times: {counts}");
    assert_eq!(counts.duplicates, 0, "{counts}");
    gateway.ends();
}

/// Mostly small, but up to 64 KiB, and now and then nothing at all.
fn small_or_large(random: &mut Random) -> usize {
    let most = 65_536 >> random.below(8);
    usize::try_from(random.below(20).min(1) * random.below(most + 1)).unwrap()
}
