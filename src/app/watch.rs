//! Files that may change: looked at again and again, which works wherever they are, and where a directory of them is
//! swapped as a whole, as Kubernetes does it.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// What tells one version of a file from the next; nothing where there is none.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// Some files, as they were when they were last read.
#[derive(Clone, Debug)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
}

impl Files {
    /// Files that are read right after this.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let read = stamps(&paths);
        Self { seen: read.clone(), paths, read }
    }

    /// Only these of them.
    pub(super) fn only(&self, wanted: &[PathBuf]) -> Self {
        let (mut paths, mut read) = (Vec::new(), Vec::new());
        for (path, stamp) in self.paths.iter().zip(&self.read).filter(|(path, _)| wanted.contains(path)) {
            paths.push(path.clone());
            read.push(*stamp);
        }
        Self { paths, seen: read.clone(), read }
    }

    /// Notes how these of them are, before they are read.
    pub(super) fn mark_only(&mut self, wanted: &[PathBuf]) {
        for (path, read) in self.paths.iter().zip(&mut self.read).filter(|(path, _)| wanted.contains(path)) {
            *read = stamps(std::slice::from_ref(path)).pop().flatten();
        }
    }

    /// Notes how they are, before they are read.
    pub(super) fn mark(&mut self) {
        self.read = stamps(&self.paths);
    }

    /// Says which files they are, after they were read. Of those that were not known, the present state is noted.
    pub(super) fn name(&mut self, paths: Vec<PathBuf>) {
        let mut read = stamps(&paths);
        for (path, stamp) in paths.iter().zip(&mut read) {
            let known = self.paths.iter().position(|known| known == path);
            if let Some(before) = known.and_then(|index| self.read.get(index)) {
                *stamp = *before;
            }
        }
        *self = Self { seen: read.clone(), paths, read };
    }

    /// Waits until they are other than they were read and have stayed so for a period: what is still being written is
    /// left alone.
    pub(super) async fn changed(&mut self, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            let paths = self.paths.clone();
            // A disk over a network may keep whoever asks it waiting.
            let Ok(now) = tokio::task::spawn_blocking(move || stamps(&paths)).await else { continue };
            let settled = now == self.seen;
            self.seen = now;
            if settled && self.seen != self.read {
                return;
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    paths.iter().map(|path| std::fs::metadata(path).ok().map(|about| stamp(&about))).collect()
}

fn stamp(about: &std::fs::Metadata) -> (u64, u64, i64, i64, u64) {
    (about.dev(), about.ino(), about.mtime(), about.mtime_nsec(), about.size())
}
