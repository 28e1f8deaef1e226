//! What is in a folder of the machine, read as far as somebody wants to have it.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;

use rustler::{Atom, Binary, Encoder, Env, Term};

use crate::terms::atoms;

/// `{:ok, [{name, :file | :directory}]}` of a folder's files and folders whose names are text, or `{:error, errno}`. One that has more than
/// `most` entries of whatever kind is `:efbig`, and no more of them are read.
#[rustler::nif(schedule = "DirtyIo")]
fn list_folder<'a>(env: Env<'a>, path: Binary<'a>, most: usize) -> Term<'a> {
    match listed(OsStr::from_bytes(path.as_slice()), most) {
        Ok(entries) => (atoms::ok(), entries).encode(env),
        Err(error) => (atoms::error(), atoms::named(env, errno(&error))).encode(env),
    }
}

fn listed(path: &OsStr, most: usize) -> Result<Vec<(String, Atom)>, Error> {
    let mut entries = Vec::new();
    for (number, entry) in std::fs::read_dir(path)?.enumerate() {
        if number == most {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let entry = entry?;
        // One that is gone by now has none.
        let Ok(kind) = entry.file_type() else { continue };
        if !(kind.is_dir() || kind.is_file()) {
            continue;
        }
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, if kind.is_dir() { atoms::directory() } else { atoms::file() }));
        }
    }
    Ok(entries)
}

fn errno(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "enoent",
        ErrorKind::PermissionDenied => "eacces",
        ErrorKind::NotADirectory => "enotdir",
        ErrorKind::FileTooLarge => "efbig",
        ErrorKind::OutOfMemory => "enomem",
        _other => "eio",
    }
}
