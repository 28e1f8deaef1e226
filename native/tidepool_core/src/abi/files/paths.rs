//! What is done with paths, from a folder that is open, for guests of all WASIs.

use wasmtime::StoreContextMut;

use super::open::{Content, Descriptor, Kind, OpenFile, OpenFolder, Place};
use super::place::{ask, done};
use super::rights;
use super::table;
use crate::abi::slots::State;
use crate::base::request::FileOperation;
use crate::process::files::error::FileError;
use crate::process::files::folder::Source;
use crate::process::files::memory::Stat;

/// `oflags`.
pub(in crate::abi) const CREATE: i32 = 1;
pub(in crate::abi) const FOLDER: i32 = 2;
pub(in crate::abi) const EXCLUSIVE: i32 = 4;
pub(in crate::abi) const TRUNCATE: i32 = 8;

/// What a path means.
struct Target {
    place: Place,
    /// Does it say that it is a folder's?
    of_folder: bool,
    writable: bool,
}

/// What a path means from a folder that is open with this right.
fn target(store: &mut StoreContextMut<'_, State>, fd: i32, path: &[u8], right: u64) -> Result<Target, FileError> {
    let descriptor = table::get(store.data_mut(), fd)?;
    let lacks = descriptor.needs(right);
    let Kind::Folder(folder) = &descriptor.kind else { return Err(FileError::NotFolder) };
    let resolved = folder.place.path.resolve(path)?;
    let place = Place { source: folder.place.source.clone(), path: resolved.path };
    let writable = folder.writable;
    lacks.map(|()| Target { place, of_folder: resolved.of_folder, writable })
}

/// The same for what is to be changed.
fn changed(store: &mut StoreContextMut<'_, State>, fd: i32, path: &[u8], right: u64) -> Result<Target, FileError> {
    // A folder that nobody may change has not the right either; this is why.
    let writable = table::folder(store.data_mut(), fd, 0)?.writable;
    let target = target(store, fd, path, if writable { right } else { 0 })?;
    if writable { Ok(target) } else { Err(FileError::ReadOnly) }
}

pub(in crate::abi) async fn stat(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    path: &[u8],
) -> Result<(Stat, u64), FileError> {
    let Target { place, of_folder, .. } = target(store, fd, path, rights::PATH_FILESTAT_GET)?;
    let stat = place.stat(store).await?;
    if of_folder && !stat.is_folder {
        return Err(FileError::NotFolder);
    }
    Ok((stat, place.device()))
}

/// How something is opened.
pub(in crate::abi) struct Opening {
    /// [`CREATE`], [`FOLDER`], [`EXCLUSIVE`] and [`TRUNCATE`], as `oflags` of preview 1 has them.
    pub(in crate::abi) how: i32,
    pub(in crate::abi) rights: u64,
    pub(in crate::abi) inheriting: u64,
    /// `fdflags`.
    pub(in crate::abi) flags: u16,
}

/// Opens what is at a path: its number.
pub(in crate::abi) async fn open(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    path: &[u8],
    opening: Opening,
) -> Result<u32, FileError> {
    let Opening { how, rights, inheriting, flags } = opening;
    let asks = |flag: i32| how & flag != 0;
    if how & !(CREATE | FOLDER | EXCLUSIVE | TRUNCATE) != 0 || (asks(CREATE) && asks(FOLDER)) {
        return Err(FileError::Invalid);
    }
    let Target { place, of_folder, writable } = target(store, fd, path, rights::PATH_OPEN)?;
    let passed_on = table::get(store.data_mut(), fd)?.inheriting;
    let writes = rights & rights::FD_WRITE != 0;
    if asks(CREATE) {
        create(store, fd, &place, of_folder, writable, asks(EXCLUSIVE)).await?;
    }
    let stat = place.stat(store).await?;
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
                done(ask(store, folder, path, FileOperation::Resize { size: 0 }).await)?;
            }
        }
        Kind::File(OpenFile { content, offset: 0 })
    };
    let most = if stat.is_folder { rights::of_folder(writable) } else { rights::of_file(writes) };
    // When a file was changed is its folder's, as on a disk: who may change that need not write the file.
    let most = if writable { most | rights::FD_FILESTAT_SET_TIMES } else { most };
    let descriptor = Descriptor { rights: rights & passed_on & most, inheriting: inheriting & passed_on, flags, kind };
    table::add(store.data_mut(), descriptor)
}

/// Makes a file, unless it is there and may be.
async fn create(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    place: &Place,
    of_folder: bool,
    writable: bool,
    exclusive: bool,
) -> Result<(), FileError> {
    let found = match place.stat(store).await {
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
    table::get(store.data_mut(), fd)?.needs(rights::PATH_CREATE_FILE)?;
    if of_folder {
        return Err(FileError::IsFolder);
    }
    match place.create(store, false).await {
        // Somebody else was first.
        Err(FileError::Exists) if !exclusive => Ok(()),
        created => created,
    }
}

pub(in crate::abi) async fn create_folder(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    path: &[u8],
) -> Result<(), FileError> {
    let target = changed(store, fd, path, rights::PATH_CREATE_DIRECTORY)?;
    target.place.create(store, true).await
}

/// Removes a file, or an empty folder.
pub(in crate::abi) async fn remove(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    path: &[u8],
    is_folder: bool,
) -> Result<(), FileError> {
    let right = if is_folder { rights::PATH_REMOVE_DIRECTORY } else { rights::PATH_UNLINK_FILE };
    let target = changed(store, fd, path, right)?;
    if target.of_folder && !is_folder {
        // Of a folder, or of what would have to be one.
        let found = target.place.stat(store).await?;
        return Err(if found.is_folder { FileError::IsFolder } else { FileError::NotFolder });
    }
    target.place.remove(store, is_folder).await
}

pub(in crate::abi) async fn rename(
    store: &mut StoreContextMut<'_, State>,
    (fd, path): (i32, &[u8]),
    (to_fd, to_path): (i32, &[u8]),
) -> Result<(), FileError> {
    let from = changed(store, fd, path, rights::PATH_RENAME_SOURCE)?;
    let to = changed(store, to_fd, to_path, rights::PATH_RENAME_TARGET)?;
    if (from.of_folder || to.of_folder) && !from.place.stat(store).await?.is_folder {
        return Err(FileError::NotFolder);
    }
    from.place.rename(store, &to.place).await
}

pub(in crate::abi) async fn set_times(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    path: &[u8],
    modified_ns: Option<u64>,
) -> Result<(), FileError> {
    let target = changed(store, fd, path, rights::PATH_FILESTAT_SET_TIMES)?;
    target.place.stat(store).await?;
    modified_ns.map_or(Ok(()), |time| target.place.set_modified_ns(time))
}

/// There are no symbolic links: nothing is one.
pub(in crate::abi) async fn read_link(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    path: &[u8],
) -> Result<(), FileError> {
    let target = target(store, fd, path, rights::PATH_READLINK)?;
    target.place.stat(store).await?;
    Err(FileError::Invalid)
}
