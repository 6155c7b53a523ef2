//! How files come into being: under a temporary name, which is worth nothing after a crash, and then,
//! whole and synced, under their own.

use super::error::LogError;
use super::{Disk, DiskFile, names};
use std::io;

/// Temporary files for one name at once; there are a handful of threads that write.
const WRITERS_MAX: u32 = 64;

/// Creates `temporary`, in place of what an interrupted try may have left.
pub(super) fn create<D: Disk>(disk: &D, temporary: &str) -> io::Result<D::File> {
    match disk.create(temporary) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(temporary)?;
            disk.create(temporary)
        }
        created => created,
    }
}

/// Creates a temporary file for `name` beside those that others are writing for the same name.
pub(super) fn create_numbered<D: Disk>(disk: &D, name: &str) -> io::Result<(D::File, String)> {
    let mut number = 0;
    loop {
        let temporary = names::temporary(&format!("{name}.{number}"));
        match disk.create(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < WRITERS_MAX => {
                number += 1;
            }
            created => return created.map(|file| (file, temporary)),
        }
    }
}

/// Syncs a file, gives it its name and makes that durable. A disk that is full only now is a failure
/// like any other: nobody knows what of it is on disk.
pub(super) fn publish<D: Disk>(
    disk: &D,
    file: &mut D::File,
    temporary: &str,
    name: &str,
) -> Result<(), LogError> {
    let mut run = || {
        file.sync()?;
        disk.rename(temporary, name)?;
        disk.sync_dir()
    };
    run().map_err(|source| LogError::Io {
        what: format!("cannot finish {name}"),
        source,
    })
}

/// Names of everything in the directory.
pub(super) fn list<D: Disk>(disk: &D) -> Result<Vec<String>, LogError> {
    disk.list()
        .map_err(|error| LogError::io("cannot list the data directory", error))
}

/// Removes a file; durable only after [`sync_dir`].
pub(super) fn remove<D: Disk>(disk: &D, name: &str) -> Result<(), LogError> {
    disk.remove(name)
        .map_err(|error| LogError::io(format!("cannot remove {name}"), error))
}

/// Makes names durable.
pub(super) fn sync_dir<D: Disk>(disk: &D) -> Result<(), LogError> {
    disk.sync_dir()
        .map_err(|error| LogError::io("cannot sync the data directory", error))
}
