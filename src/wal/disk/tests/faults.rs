//! A disk that fails: when it is full, when it cannot synchronise, and when the machine stops.

use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::AtomicBool;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::*;

const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;

/// A write that is not synchronised.
#[derive(Debug)]
struct Write {
    file: PathBuf,
    offset: u64,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// What goes wrong, shared by all openings of all files.
#[derive(Debug, Default)]
pub(in crate::wal::disk) struct Faults {
    /// Writes that still succeed; `u64::MAX` for all.
    writes: AtomicU64,
    /// Synchronisations that fail from now on.
    syncs: AtomicU64,
    /// No power: nothing that is asked has an effect.
    off: AtomicBool,
    synced: AtomicU64,
    /// Writes since the last synchronisation.
    unsynced: Mutex<Vec<Write>>,
}

impl Faults {
    pub(super) fn new() -> Arc<Self> {
        let faults = Self::default();
        faults.writes.store(u64::MAX, Ordering::SeqCst);
        Arc::new(faults)
    }

    pub(super) fn fail_writes_after(&self, count: u64) {
        self.writes.store(count, Ordering::SeqCst);
    }

    pub(super) fn fail_syncs(&self, count: u64) {
        self.syncs.store(count, Ordering::SeqCst);
    }

    pub(super) fn switch_off(&self) {
        self.off.store(true, Ordering::SeqCst);
    }

    /// Of what was not synchronised, some has reached the disk and some has not, in no order; `reached` chooses.
    pub(super) fn switch_on(&self, mut reached: impl FnMut() -> bool) {
        let open = |path: &Path| std::fs::OpenOptions::new().write(true).open(path);
        let unsynced = std::mem::take(&mut *self.unsynced.lock().unwrap());
        for write in unsynced.iter().rev() {
            // A file that was removed since has no use for them.
            let Ok(file) = open(&write.file) else { continue };
            file.write_all_at(&write.before, write.offset).unwrap();
        }
        for write in &unsynced {
            let Ok(file) = open(&write.file) else { continue };
            for (number, sector) in write.after.chunks(512).enumerate() {
                if reached() {
                    file.write_all_at(sector, write.offset + number as u64 * 512).unwrap();
                }
            }
        }
        self.off.store(false, Ordering::SeqCst);
    }

    /// How often something was synchronised.
    fn synced(&self) -> u64 {
        self.synced.load(Ordering::SeqCst)
    }
}

/// A file, and its faults.
#[derive(Debug)]
pub(in crate::wal::disk) struct Faulty {
    inner: FileBackend,
    path: PathBuf,
    faults: Option<Arc<Faults>>,
}

impl Faulty {
    pub(in crate::wal::disk) fn new(inner: FileBackend, path: PathBuf, faults: Option<Arc<Faults>>) -> Self {
        Self { inner, path, faults }
    }

    fn power(&self) -> io::Result<()> {
        match &self.faults {
            Some(faults) if faults.off.load(Ordering::SeqCst) => Err(io::Error::from_raw_os_error(IO_ERROR)),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.power()?;
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.power()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.power()?;
        if let Some(faults) = &self.faults {
            let failing =
                faults.syncs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if failing.is_ok() {
                return Err(io::Error::from_raw_os_error(IO_ERROR));
            }
            faults.synced.fetch_add(1, Ordering::SeqCst);
            faults.unsynced.lock().unwrap().retain(|write| write.file != self.path);
        }
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.power()?;
        if let Some(faults) = &self.faults {
            let writes = faults.writes.load(Ordering::SeqCst);
            if writes == 0 {
                return Err(io::Error::from_raw_os_error(NO_SPACE));
            }
            if writes != u64::MAX {
                faults.writes.fetch_sub(1, Ordering::SeqCst);
            }
            let mut before = vec![0; data.len()];
            self.inner.read(offset, &mut before)?;
            let (file, after) = (self.path.clone(), data.to_vec());
            faults.unsynced.lock().unwrap().push(Write { file, offset, before, after });
        }
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

pub(super) fn faulty(directory: &TempDir, faults: &Arc<Faults>) -> Place {
    Place { faults: Some(Arc::clone(faults)), ..place(directory) }
}

fn start(directory: &TempDir, faults: &Arc<Faults>) -> Disk {
    Disk::start(faulty(directory, faults), 1 << 30, Hands::at(NOW).clock()).unwrap()
}

/// Records until the disk works again. Failing is how the log learns that it does.
async fn record_at_last(log: &Disk, entry: &Entry) {
    while let Err(error) = log.record(entry.clone()).await {
        assert!(matches!(error, WalError::Unavailable(_)), "{error}");
        tokio::task::yield_now().await;
    }
}

async fn waiting(log: &Disk) -> Vec<String> {
    let count = stats(log).await.waiting;
    let taken = log.take(usize::try_from(count).unwrap()).await.unwrap();
    taken.into_iter().map(|delivery| delivery.entry.path).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_and_is_used_again_when_it_has_room() {
    for after in 0..12 {
        let (directory, faults) = (directory(), Faults::new());
        let log = start(&directory, &faults);
        log.record(entry(1, "/a", false)).await.unwrap();
        faults.fail_writes_after(after);
        let mut refused = 0;
        for number in 10..30 {
            match log.record(entry(number, "/a", false)).await {
                Ok(_) => {
                    assert_eq!(refused, 0, "it was full before, and nobody made room");
                    let taken = log.take(2).await.unwrap();
                    for delivery in taken.iter().filter(|it| it.entry.path != "/path/1") {
                        log.settle(delivery).await.unwrap();
                    }
                    for delivery in taken.iter().filter(|it| it.entry.path == "/path/1") {
                        log.postpone(delivery, UnixTime(1)).await.unwrap();
                    }
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("No space left on device"), "{error}");
                }
            }
        }
        assert!(refused > 0);
        faults.fail_writes_after(u64::MAX);
        record_at_last(&log, &entry(2, "/a", false)).await;
        assert_eq!(waiting(&log).await, ["/path/1", "/path/2"], "failing after {after} writes");
        drop(log);
        assert_eq!(waiting(&start(&directory, &faults)).await, ["/path/1", "/path/2"]);
    }
}

#[tokio::test]
async fn an_entry_that_was_not_synchronised_is_not_acknowledged() {
    let (directory, faults) = (directory(), Faults::new());
    let log = start(&directory, &faults);
    log.record(entry(1, "/a", false)).await.unwrap();
    faults.fail_syncs(1);
    let error = log.record(entry(2, "/a", false)).await.unwrap_err();
    assert!(error.to_string().contains("Input/output error"), "{error}");
    // The sender's retry of what failed is no duplicate.
    record_at_last(&log, &entry(2, "/a", false)).await;
    record_at_last(&log, &entry(3, "/a", false)).await;
    assert_eq!(waiting(&log).await, ["/path/1", "/path/2", "/path/3"]);
    drop(log);
    assert_eq!(waiting(&start(&directory, &faults)).await, ["/path/1", "/path/2", "/path/3"]);
}

#[tokio::test]
async fn a_disk_that_never_synchronises_loses_nothing_that_was_there() {
    let (directory, faults) = (directory(), Faults::new());
    let log = start(&directory, &faults);
    log.record(entry(1, "/a", false)).await.unwrap();
    faults.fail_syncs(u64::MAX);
    for number in 10..15 {
        assert!(log.record(entry(number, "/a", false)).await.is_err());
    }
    drop(log);
    faults.fail_syncs(0);
    let left = waiting(&start(&directory, &faults)).await;
    assert_eq!(left.first().map(String::as_str), Some("/path/1"), "{left:?}");
}

#[tokio::test]
async fn a_delivery_that_could_not_be_settled_on_disk_is_settled_later() {
    let (directory, faults) = (directory(), Faults::new());
    let log = start(&directory, &faults);
    log.record(entry(1, "/a", false)).await.unwrap();
    log.record(entry(2, "/a", false)).await.unwrap();
    let taken = log.take(1).await.unwrap();
    faults.fail_syncs(1);
    log.settle(&taken[0]).await.unwrap();
    assert!(log.record(entry(3, "/a", false)).await.is_err());
    record_at_last(&log, &entry(4, "/a", false)).await;
    drop(log);
    assert_eq!(waiting(&start(&directory, &faults)).await, ["/path/2", "/path/4"]);
}

#[tokio::test]
async fn many_entries_are_one_synchronisation() {
    let (directory, faults) = (directory(), Faults::new());
    let log = start(&directory, &faults);
    let before = faults.synced();
    let entries = (0..1000).map(|number| log.record(entry(number, "/a", false)));
    let recorded = futures_util::future::join_all(entries).await;
    assert!(recorded.iter().all(Result::is_ok));
    let count = faults.synced() - before;
    assert!((1..200).contains(&count), "{count}");
}
