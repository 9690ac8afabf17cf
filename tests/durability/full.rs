//! No room for more: a small file system, and a limit on the size of files.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::SENDERS;
use super::gateway::{Gateway, Setup};
use super::ledger::Ledger;
use super::random::Random;
use super::senders::Senders;
use super::upstream::{Mood, Upstream};

/// Posts until nothing more is taken, makes room, and looks whether all goes on.
fn goes_on(name: &str, prepare: impl FnOnce(&mut Setup), make_room: impl FnOnce(&Setup, &Gateway<'_>)) {
    let mut random = Random::chosen(name);
    let ledger = Ledger::new();
    // Nothing leaves the log, so that it fills.
    let upstream = Upstream::start(&ledger, random.fork(), Mood::Busy);
    let mut setup = Setup::new(&upstream);
    prepare(&mut setup);
    let mut gateway = Gateway::start(&setup);
    gateway.is_ready();
    let any = |random: &mut Random| usize::try_from(random.below(65_537)).unwrap();
    let senders = Senders::start(SENDERS, &setup, &ledger, &mut random, any);
    ledger.more(100, |counts| counts.refused);
    gateway.lives();
    make_room(&setup, &gateway);
    ledger.more(100, |counts| counts.acknowledged);
    senders.stop();
    upstream.set(Mood::Moody);
    gateway.drains(&ledger);
    let counts = ledger.examine();
    eprintln!("{name}: {counts}");
    gateway.ends();
}

#[test]
fn when_files_may_not_grow_senders_come_later() {
    const LIMIT: &str = "trap '' XFSZ; ulimit -S -f 16384; exec \"$@\"";
    let limit = |setup: &mut Setup| {
        // 8 or 16 MiB, as the shell counts. Without the trap the signal would end the process.
        setup.wrapper = ["/bin/sh", "-c", LIMIT, "sh"].map(str::to_owned).into();
    };
    goes_on("files may not grow", limit, |_, gateway| {
        let limit = Rlimit { current: None, maximum: None };
        prlimit(Pid::from_raw(gateway.pid()), Resource::Fsize, limit).unwrap();
    });
}

/// A file system in memory, gone with the value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&at).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[test]
fn when_the_disk_is_full_senders_come_later() {
    // Unmounted before its directory is removed, whatever happens.
    let directory = tempfile::tempdir().unwrap();
    let Some(tmpfs) = Tmpfs::mount(directory.path().join("small")) else {
        eprintln!(
            "skipped: a tmpfs cannot be mounted here; the limit on the size of files is tested all the same"
        );
        return;
    };
    let ballast = tmpfs.0.join("ballast");
    let fill = |setup: &mut Setup| {
        std::os::unix::fs::symlink(&tmpfs.0, setup.log()).unwrap();
        std::fs::write(&ballast, vec![b'x'; 56 << 20]).unwrap();
    };
    goes_on("the disk is full", fill, |_, _| std::fs::remove_file(&ballast).unwrap());
}
