//! The files of the store, as redb asks for one; tests let them fail.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use rustix::fs::{Advice, fadvise};

/// Name of the file in the directory of the log.
const FILE: &str = "wal.redb";

/// Names of the segments begin with it.
const SEGMENT: &str = "entries-";
/// Bytes of a segment.
const LENGTH: u64 = 16 * 1024 * 1024;

/// A file of the log.
#[cfg(not(test))]
pub(super) type Storage = FileBackend;
/// A file of the log that may fail.
#[cfg(test)]
pub(super) type Storage = super::tests::faults::Faulty;

/// Where a log is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    /// Bytes of a segment, unless one write needs more.
    pub(super) length: u64,
    #[cfg(test)]
    pub(super) faults: Option<std::sync::Arc<super::tests::faults::Faults>>,
}

impl Place {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            length: LENGTH,
            #[cfg(test)]
            faults: None,
        }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Makes the directory and the file if they are missing, readable by this user alone.
    pub(super) fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        if !self.file().exists() {
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.file())?;
            self.sync()?;
        }
        Ok(())
    }

    /// Opens the file, which must be there.
    pub(super) fn open(&self) -> io::Result<(File, Storage)> {
        let file = OpenOptions::new().read(true).write(true).open(self.file())?;
        forget(&file);
        Ok((file.try_clone()?, self.backend(file, self.file())?))
    }

    fn backend(&self, file: File, path: PathBuf) -> io::Result<Storage> {
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        #[cfg(test)]
        let backend = super::tests::faults::Faulty::new(backend, path, self.faults.clone());
        #[cfg(not(test))]
        drop(path);
        Ok(backend)
    }

    /// The file of a segment.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{SEGMENT}{number:010}"))
    }

    /// Numbers of all segments, in their order.
    pub(super) fn segments(&self) -> io::Result<BTreeSet<u64>> {
        let mut numbers = BTreeSet::new();
        for file in std::fs::read_dir(&self.directory)? {
            let name = file?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(SEGMENT)?.parse().ok());
            numbers.extend(number.filter(|number| self.segment(*number).file_name() == Some(&name)));
        }
        Ok(numbers)
    }

    /// Makes a new file for a segment, readable by this user alone.
    pub(super) fn make_segment(&self, number: u64) -> io::Result<Storage> {
        let path = self.segment(number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        self.backend(file, path)
    }

    /// Opens the file of a segment, as the disk has it.
    pub(super) fn open_segment(&self, number: u64) -> io::Result<Storage> {
        let path = self.segment(number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        forget(&file);
        self.backend(file, path)
    }

    /// Opens the file of a segment that this process has read or written.
    pub(super) fn reopen_segment(&self, number: u64) -> io::Result<Storage> {
        let path = self.segment(number);
        self.backend(File::open(&path)?, path)
    }

    pub(super) fn remove_segment(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.segment(number))
    }

    /// Which files there are is durable only when the directory is.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

/// After an fsync that failed, Linux may hold pages as clean that never reached the disk. What is read from now on is
/// what the disk has. Best effort: not every file system can.
fn forget(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}
