//! What is done with paths, from a folder that is open.

use wasmtime::Caller;

use super::descriptors::{changed_at, device, known_flags};
use super::memory_of;
use super::numbers::{self, FILESTAT_BYTES};
use super::open::{Content, Descriptor, Kind, OpenFile, OpenFolder, Place};
use super::place::{ask, done};
use super::rights;
use super::table;
use crate::abi::slots::State;
use crate::base::request::FileOperation;
use crate::process::files::error::FileError;
use crate::process::files::folder::Source;

/// `oflags`.
const CREATE: i32 = 1;
const FOLDER: i32 = 2;
const EXCLUSIVE: i32 = 4;
const TRUNCATE: i32 = 8;

/// What a path means.
struct Target {
    place: Place,
    /// Does it say that it is a folder's?
    of_folder: bool,
    writable: bool,
}

/// What a path means from a folder that is open with this right.
fn target(caller: &mut Caller<'_, State>, fd: i32, path: (i32, i32), right: u64) -> Result<Target, FileError> {
    let path = memory_of::path(caller, path)?;
    let descriptor = table::get(caller, fd)?;
    let lacks = descriptor.needs(right);
    let Kind::Folder(folder) = &descriptor.kind else { return Err(FileError::NotFolder) };
    let resolved = folder.place.path.resolve(&path)?;
    let place = Place { source: folder.place.source.clone(), path: resolved.path };
    let writable = folder.writable;
    lacks.map(|()| Target { place, of_folder: resolved.of_folder, writable })
}

/// The same for what is to be changed.
fn changed(caller: &mut Caller<'_, State>, fd: i32, path: (i32, i32), right: u64) -> Result<Target, FileError> {
    // A folder that nobody may change has not the right either; this is why.
    let writable = table::folder(caller, fd, 0)?.writable;
    let target = target(caller, fd, path, if writable { right } else { 0 })?;
    if writable { Ok(target) } else { Err(FileError::ReadOnly) }
}

pub(super) async fn stat(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
) -> Result<[u8; FILESTAT_BYTES], FileError> {
    let Target { place, of_folder, .. } = target(caller, fd, path, rights::PATH_FILESTAT_GET)?;
    let stat = place.stat(caller).await?;
    if of_folder && !stat.is_folder {
        return Err(FileError::NotFolder);
    }
    Ok(numbers::filestat(stat, device(&place)))
}

pub(super) async fn tell_stat(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    at: i32,
) -> Result<(), FileError> {
    let stat = stat(caller, fd, path).await?;
    memory_of::write(caller, at, &stat)
}

/// What `path_open` is given beside the path.
pub(super) struct Opening {
    pub(super) how: i32,
    pub(super) rights: u64,
    pub(super) inheriting: u64,
    pub(super) flags: i32,
    /// Where the new number goes.
    pub(super) at: i32,
}

pub(super) async fn open(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    opening: Opening,
) -> Result<(), FileError> {
    let Opening { how, rights, inheriting, flags, at } = opening;
    let flags = known_flags(flags)?;
    memory_of::check(caller, at, 4)?;
    let asks = |flag: i32| how & flag != 0;
    if how & !(CREATE | FOLDER | EXCLUSIVE | TRUNCATE) != 0 || (asks(CREATE) && asks(FOLDER)) {
        return Err(FileError::Invalid);
    }
    let Target { place, of_folder, writable } = target(caller, fd, path, rights::PATH_OPEN)?;
    let passed_on = table::get(caller, fd)?.inheriting;
    let writes = rights & rights::FD_WRITE != 0;
    if asks(CREATE) {
        create(caller, fd, &place, of_folder, writable, asks(EXCLUSIVE)).await?;
    }
    let stat = place.stat(caller).await?;
    if !stat.is_folder && (asks(FOLDER) || of_folder) {
        return Err(FileError::NotFolder);
    }
    let kind = if stat.is_folder {
        // Who asks for a folder by its flag may ask for all rights that there are.
        if (writes && !asks(FOLDER)) || asks(TRUNCATE) {
            return Err(FileError::IsFolder);
        }
        Kind::Folder(OpenFolder { preopen: None, place, writable, listing: None })
    } else {
        if (writes || asks(TRUNCATE)) && !writable {
            return Err(FileError::ReadOnly);
        }
        if (writes && passed_on & rights::FD_WRITE == 0)
            || (asks(TRUNCATE) && passed_on & rights::FD_FILESTAT_SET_SIZE == 0)
        {
            return Err(FileError::NotCapable);
        }
        let content = match place.source {
            Source::Memory(memory) => Content::Memory(memory.file(&place.path)?),
            Source::Host(folder) => Content::Host(folder, place.path),
        };
        match (&content, asks(TRUNCATE)) {
            (_, false) => {}
            (Content::Memory(file), true) => file.resize(0)?,
            (Content::Host(folder, path), true) => {
                done(ask(caller, folder, path, FileOperation::Resize { size: 0 }).await)?;
            }
        }
        Kind::File(OpenFile { content, offset: 0 })
    };
    let most = if stat.is_folder { rights::of_folder(writable) } else { rights::of_file(writes) };
    let descriptor = Descriptor { rights: rights & passed_on & most, inheriting: inheriting & passed_on, flags, kind };
    let number = table::add(caller, descriptor)?;
    memory_of::write(caller, at, &number.to_le_bytes())
}

/// Makes a file, unless it is there and may be.
async fn create(
    caller: &mut Caller<'_, State>,
    fd: i32,
    place: &Place,
    of_folder: bool,
    writable: bool,
    exclusive: bool,
) -> Result<(), FileError> {
    let found = match place.stat(caller).await {
        Ok(_stat) => true,
        Err(FileError::NoEntry) => false,
        Err(error) => return Err(error),
    };
    if found {
        return if exclusive { Err(FileError::Exists) } else { Ok(()) };
    }
    if !writable {
        return Err(FileError::ReadOnly);
    }
    table::get(caller, fd)?.needs(rights::PATH_CREATE_FILE)?;
    if of_folder {
        return Err(FileError::IsFolder);
    }
    match place.create(caller, false).await {
        // Somebody else was first.
        Err(FileError::Exists) if !exclusive => Ok(()),
        created => created,
    }
}

pub(super) async fn create_folder(caller: &mut Caller<'_, State>, fd: i32, path: (i32, i32)) -> Result<(), FileError> {
    let target = changed(caller, fd, path, rights::PATH_CREATE_DIRECTORY)?;
    target.place.create(caller, true).await
}

/// Removes a file, or an empty folder.
pub(super) async fn remove(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    is_folder: bool,
) -> Result<(), FileError> {
    let right = if is_folder { rights::PATH_REMOVE_DIRECTORY } else { rights::PATH_UNLINK_FILE };
    let target = changed(caller, fd, path, right)?;
    if target.of_folder && !is_folder {
        // Of a folder, or of what would have to be one.
        let found = target.place.stat(caller).await?;
        return Err(if found.is_folder { FileError::IsFolder } else { FileError::NotFolder });
    }
    target.place.remove(caller, is_folder).await
}

pub(super) async fn rename(
    caller: &mut Caller<'_, State>,
    (fd, path): (i32, (i32, i32)),
    (to_fd, to_path): (i32, (i32, i32)),
) -> Result<(), FileError> {
    let from = changed(caller, fd, path, rights::PATH_RENAME_SOURCE)?;
    let to = changed(caller, to_fd, to_path, rights::PATH_RENAME_TARGET)?;
    if (from.of_folder || to.of_folder) && !from.place.stat(caller).await?.is_folder {
        return Err(FileError::NotFolder);
    }
    from.place.rename(caller, &to.place).await
}

pub(super) async fn set_times(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    modified: u64,
    flags: i32,
) -> Result<(), FileError> {
    let target = changed(caller, fd, path, rights::PATH_FILESTAT_SET_TIMES)?;
    target.place.stat(caller).await?;
    changed_at(modified, flags)?.map_or(Ok(()), |time| target.place.set_modified_ns(time))
}

/// There are no symbolic links: nothing is one.
pub(super) async fn read_link(caller: &mut Caller<'_, State>, fd: i32, path: (i32, i32)) -> Result<(), FileError> {
    let target = target(caller, fd, path, rights::PATH_READLINK)?;
    target.place.stat(caller).await?;
    Err(FileError::Invalid)
}

/// Nor can links be made, of either kind.
pub(super) fn link(caller: &mut Caller<'_, State>, fds: &[i32]) -> Result<(), FileError> {
    for fd in fds {
        table::folder(caller, *fd, 0)?;
    }
    Err(FileError::NotSupported)
}
