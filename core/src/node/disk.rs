//! The threads that write: one for the log, one for snapshots, so that a snapshot of a gigabyte delays
//! no acknowledgement.

use super::driver::Letter;
use super::mailbox::Mailbox;
use crate::log::{Disk, Log, LogError, SnapshotReader, SnapshotWriter};
use crate::machine::Machine;
use crate::replica::{Input, SnapshotMeta, Write};
use std::sync::Arc;
use std::time::Duration;

/// Pause before a write that found the disk full is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// Work for the log thread.
#[derive(Debug)]
pub(super) enum DiskJob {
    Write { ticket: u64, write: Write },
}

/// Work for the snapshot thread.
#[derive(Debug)]
pub(super) enum SnapshotJob {
    Begin(SnapshotMeta),
    Slice(Vec<u8>),
    End,
}

/// Writes what the driver hands over until the mailbox is closed; then closes the log in order.
/// Everything that waits is one group: one write, one sync, one answer.
pub(super) fn run_log<M: Machine, D: Disk>(
    mut log: Log<D>,
    jobs: &Mailbox<DiskJob>,
    driver: &Mailbox<Letter<M>>,
) {
    let mut waiting = Vec::new();
    while jobs.take(&mut waiting, None) {
        let mut last = None;
        let mut must_sync = false;
        let mut entries = 0;
        for DiskJob::Write { ticket, write } in waiting.drain(..) {
            must_sync |= write.must_sync;
            entries += write.entries.len();
            if let Err(error) = log.append(&write) {
                driver.push(Letter::Fatal(error.to_string()));
                return;
            }
            last = Some(ticket);
        }
        if must_sync && let Err(error) = sync_with_patience(&mut log, jobs) {
            driver.push(Letter::Fatal(error.to_string()));
            return;
        }
        metrics::counter!("quorate_log_writes_total").increment(1);
        metrics::counter!("quorate_log_entries_total")
            .increment(u64::try_from(entries).unwrap_or(u64::MAX));
        if let Some(ticket) = last {
            driver.push(Letter::Input(Input::Persisted { ticket }));
        }
    }
    if let Err(error) = log.close() {
        tracing::warn!(%error, "the log was not closed in order; the next start recovers it as after a crash");
    }
}

/// Syncs; a full disk is waited for. Meanwhile the replica notices that its write does not come back,
/// steps down and is not ready, and nothing is acknowledged.
fn sync_with_patience<D: Disk>(log: &mut Log<D>, jobs: &Mailbox<DiskJob>) -> Result<(), LogError> {
    let mut told = false;
    loop {
        match log.sync() {
            Err(LogError::Full { what }) if !jobs.is_closed() => {
                if !told {
                    tracing::error!(
                        what,
                        "the disk is full: nothing is acknowledged until there is room; free space in the data directory"
                    );
                    told = true;
                }
                metrics::counter!("quorate_log_full_total").increment(1);
                std::thread::sleep(FULL_PAUSE);
            }
            result => {
                if told && result.is_ok() {
                    tracing::info!("there is room again");
                }
                metrics::counter!("quorate_log_syncs_total").increment(1);
                return result;
            }
        }
    }
}

/// Writes snapshots until the mailbox is closed.
pub(super) fn run_snapshots<M: Machine, D: Disk>(
    disk: &D,
    jobs: &Mailbox<SnapshotJob>,
    driver: &Mailbox<Letter<M>>,
) {
    let mut waiting = Vec::new();
    let mut current: Option<SnapshotWriter<D>> = None;
    while jobs.take(&mut waiting, None) {
        for job in waiting.drain(..) {
            let result = match job {
                SnapshotJob::Begin(meta) => {
                    SnapshotWriter::begin(disk.clone(), meta).map(|writer| {
                        current = Some(writer);
                    })
                }
                SnapshotJob::Slice(slice) => current
                    .as_mut()
                    .map_or(Ok(()), |writer| writer.slice(&slice)),
                SnapshotJob::End => match current.take() {
                    None => Ok(()),
                    Some(writer) => writer.finish().map(|meta| {
                        tracing::info!(index = meta.index.0, "snapshot stored");
                        driver.push(Letter::Input(Input::SnapshotStored(meta)));
                    }),
                },
            };
            if let Err(error) = result {
                current = None;
                if error.is_fatal() {
                    driver.push(Letter::Fatal(error.to_string()));
                    return;
                }
                tracing::error!(%error, "no snapshot is stored; it is tried again");
                driver.push(Letter::Input(Input::SnapshotFailed));
            }
        }
    }
}

/// Snapshots of a disk, for the network: read to be sent, stored when received.
#[derive(Debug)]
pub(super) struct SnapshotStore<D>(pub(super) D);

/// What the network needs of it; hides the kind of disk.
pub(super) trait Snapshots: Send + Sync + 'static {
    /// Hands each slice to `take` until it refuses.
    fn read(
        &self,
        meta: &SnapshotMeta,
        take: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<(), LogError>;
    /// Stores a received snapshot under its final name, synced.
    fn store(&self, meta: &SnapshotMeta, slices: &[Vec<u8>]) -> Result<(), LogError>;
}

impl<D: Disk> Snapshots for SnapshotStore<D> {
    fn read(
        &self,
        meta: &SnapshotMeta,
        take: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<(), LogError> {
        let mut reader = SnapshotReader::open(&self.0, meta)?;
        while let Some(slice) = reader.next_slice()? {
            if !take(slice) {
                break;
            }
        }
        Ok(())
    }

    fn store(&self, meta: &SnapshotMeta, slices: &[Vec<u8>]) -> Result<(), LogError> {
        let mut writer = SnapshotWriter::begin(self.0.clone(), meta.clone())?;
        for slice in slices {
            writer.slice(slice)?;
        }
        writer.finish().map(|_| ())
    }
}

/// All slices of the snapshot a node starts from.
pub(super) fn read_all<D: Disk>(disk: &D, meta: &SnapshotMeta) -> Result<Vec<Vec<u8>>, LogError> {
    let mut reader = SnapshotReader::open(disk, meta)?;
    let mut slices = Vec::new();
    while let Some(slice) = reader.next_slice()? {
        slices.push(slice);
    }
    Ok(slices)
}

/// Starts a named thread.
pub(super) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, super::StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(super::StartError::Thread)
}

/// Shared by the threads and tasks of a node.
pub(super) type SharedSnapshots = Arc<dyn Snapshots>;
