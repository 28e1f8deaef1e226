//! A lock on a data folder, held for as long as its term lives: two nodes must not write to one folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

use rustler::{Encoder, Env, Resource, ResourceArc, Term};

use crate::terms::atoms;

/// The locked file. The system releases the lock when it is closed, however the node ends.
struct FileLock {
    _file: File,
}

#[rustler::resource_impl]
impl Resource for FileLock {}

/// `{:ok, lock}`, `{:error, :locked}` or `{:error, message}`.
#[rustler::nif(schedule = "DirtyIo")]
fn lock_file(env: Env<'_>, path: String) -> Term<'_> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let locked = file.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
    match locked {
        Ok(file) => (atoms::ok(), ResourceArc::new(FileLock { _file: file })).encode(env),
        Err(TryLockError::WouldBlock) => (atoms::error(), atoms::locked()).encode(env),
        Err(TryLockError::Error(error)) => (atoms::error(), error.to_string()).encode(env),
    }
}

/// Flushes a folder's entries to the disk, so that a file renamed into it stays there. `:ok` or `{:error, message}`.
#[rustler::nif(schedule = "DirtyIo")]
fn sync_folder(env: Env<'_>, path: String) -> Term<'_> {
    match File::open(&path).and_then(|folder| folder.sync_all()) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}
