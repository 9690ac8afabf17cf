//! The file of the store, as redb asks for it; tests let it fail.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::{Advice, fadvise};

/// Name of the file in the directory of the log.
const FILE: &str = "wal.redb";

/// Where a log is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    #[cfg(test)]
    pub(super) faults: Option<std::sync::Arc<super::tests::faults::Faults>>,
}

impl Place {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
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
            // The name of a new file is durable only when its directory is.
            File::open(&self.directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Opens the file, which must be there.
    pub(super) fn open(&self) -> io::Result<(File, impl StorageBackend)> {
        let file = OpenOptions::new().read(true).write(true).open(self.file())?;
        // After an fsync that failed, Linux may hold pages as clean that never reached the disk. What is read from now on
        // is what the disk has. Best effort: not every file system can.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let backend = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        #[cfg(test)]
        let backend = super::tests::faults::Faulty::new(backend, self.faults.clone());
        Ok((file, backend))
    }
}
