//! What is done with something open, but for reading and writing.

use wasmtime::{AsContextMut, Caller};

use super::memory_of;
use super::numbers::{self, DIRENT_BYTES, FILESTAT_BYTES};
use super::transfer::APPEND;
use crate::abi::files::content::{self, MAX_TRANSFER};
use crate::abi::files::open::Kind;
use crate::abi::files::rights;
use crate::abi::files::table;
use crate::abi::memory::{self, unsigned};
use crate::abi::slots::State;
use crate::process::files::error::FileError;
use crate::process::files::now_ns;

/// `whence`: what `fd_seek` counts from.
const FROM_START: i32 = 0;
const FROM_HERE: i32 = 1;
const FROM_END: i32 = 2;
/// `fstflags`: the last change, and that it is now; the same of the last access, which nobody keeps.
const SET_ACCESSED: i32 = 1;
const ACCESSED_NOW: i32 = 2;
const SET_MODIFIED: i32 = 4;
const MODIFIED_NOW: i32 = 8;
/// Most kinds of advice.
const ADVICES: i32 = 6;
/// What may be set of `fdflags`.
const SETTABLE: u16 = APPEND;
/// `fdflags` that say how a file is kept, or waited for: there is nothing to wait for.
const KNOWN_FLAGS: u16 = 0x1f;

pub(super) fn advise(caller: &mut Caller<'_, State>, fd: i32, advice: i32) -> Result<(), FileError> {
    table::file(caller.data_mut(), fd, rights::FD_ADVISE)?;
    if (0..ADVICES).contains(&advice) { Ok(()) } else { Err(FileError::Invalid) }
}

pub(super) fn allocate(caller: &mut Caller<'_, State>, fd: i32) -> Result<(), FileError> {
    table::file(caller.data_mut(), fd, rights::FD_ALLOCATE)?;
    Err(FileError::NotSupported)
}

/// There is nothing that would be lost: what is written is written.
pub(super) fn sync(caller: &mut Caller<'_, State>, fd: i32, right: u64) -> Result<(), FileError> {
    table::get(caller.data_mut(), fd)?.needs(right)
}

pub(super) fn fdstat(caller: &mut Caller<'_, State>, fd: i32, at: i32) -> Result<(), FileError> {
    let open = table::get(caller.data_mut(), fd)?;
    let stat = numbers::fdstat(matches!(open.kind, Kind::Folder(_)), open.flags, open.rights, open.inheriting);
    memory_of::write(caller, at, &stat)
}

pub(super) fn set_flags(caller: &mut Caller<'_, State>, fd: i32, flags: i32) -> Result<(), FileError> {
    let flags = known_flags(flags)?;
    let open = table::get(caller.data_mut(), fd)?;
    open.needs(rights::FD_FDSTAT_SET_FLAGS)?;
    open.flags = (open.flags & !SETTABLE) | (flags & SETTABLE);
    Ok(())
}

/// # Errors
/// [`FileError::Invalid`] for flags that there are not.
pub(super) fn known_flags(flags: i32) -> Result<u16, FileError> {
    u16::try_from(flags).ok().filter(|flags| flags & !KNOWN_FLAGS == 0).ok_or(FileError::Invalid)
}

/// Rights become fewer, and never more.
pub(super) fn set_rights(
    caller: &mut Caller<'_, State>,
    fd: i32,
    rights: u64,
    inheriting: u64,
) -> Result<(), FileError> {
    let open = table::get(caller.data_mut(), fd)?;
    if rights & !open.rights != 0 || inheriting & !open.inheriting != 0 {
        return Err(FileError::NotCapable);
    }
    (open.rights, open.inheriting) = (rights, inheriting);
    Ok(())
}

pub(super) async fn stat(caller: &mut Caller<'_, State>, fd: i32) -> Result<[u8; FILESTAT_BYTES], FileError> {
    let (stat, device) = content::stat(&mut caller.as_context_mut(), fd).await?;
    Ok(numbers::filestat(stat, device))
}

pub(super) async fn tell_stat(caller: &mut Caller<'_, State>, fd: i32, at: i32) -> Result<(), FileError> {
    let stat = stat(caller, fd).await?;
    memory_of::write(caller, at, &stat)
}

pub(super) async fn set_size(caller: &mut Caller<'_, State>, fd: i32, size: u64) -> Result<(), FileError> {
    content::set_size(&mut caller.as_context_mut(), fd, size).await
}

pub(super) fn set_times(caller: &mut Caller<'_, State>, fd: i32, modified: u64, flags: i32) -> Result<(), FileError> {
    let modified_ns = changed_at(modified, flags)?;
    content::set_times(&mut caller.as_context_mut(), fd, modified_ns)
}

/// When something is to have been changed; `None` when it is not about that.
///
/// # Errors
/// [`FileError::Invalid`] when the flags say two things at once, or something else.
pub(super) fn changed_at(modified: u64, flags: i32) -> Result<Option<u64>, FileError> {
    let all = SET_ACCESSED | ACCESSED_NOW | SET_MODIFIED | MODIFIED_NOW;
    let both = |one: i32, other: i32| flags & one != 0 && flags & other != 0;
    if flags & !all != 0 || both(SET_ACCESSED, ACCESSED_NOW) || both(SET_MODIFIED, MODIFIED_NOW) {
        return Err(FileError::Invalid);
    }
    Ok(if flags & MODIFIED_NOW != 0 { Some(now_ns()) } else { (flags & SET_MODIFIED != 0).then_some(modified) })
}

pub(super) async fn seek(
    caller: &mut Caller<'_, State>,
    fd: i32,
    by: i64,
    whence: i32,
    at: i32,
) -> Result<(), FileError> {
    let (file, _flags) = table::file(caller.data_mut(), fd, rights::FD_SEEK).map_err(no_position)?;
    let (content, here) = (file.content.clone(), file.offset);
    let from = match whence {
        FROM_START => 0,
        FROM_HERE => here,
        FROM_END => content::known(&mut caller.as_context_mut(), &content).await?.size,
        _ => return Err(FileError::Invalid),
    };
    let to = from.checked_add_signed(by).filter(|to| i64::try_from(*to).is_ok()).ok_or(FileError::Invalid)?;
    memory_of::write(caller, at, &to.to_le_bytes())?;
    table::file(caller.data_mut(), fd, 0)?.0.offset = to;
    Ok(())
}

pub(super) fn tell(caller: &mut Caller<'_, State>, fd: i32, at: i32) -> Result<(), FileError> {
    let (file, _flags) = table::file(caller.data_mut(), fd, rights::FD_TELL).map_err(no_position)?;
    let offset = file.offset;
    memory_of::write(caller, at, &offset.to_le_bytes())
}

/// A folder has no position.
fn no_position(error: FileError) -> FileError {
    if error == FileError::IsFolder { FileError::BadDescriptor } else { error }
}

fn preopen_name(caller: &mut Caller<'_, State>, fd: i32) -> Result<std::sync::Arc<str>, FileError> {
    match &table::get(caller.data_mut(), fd)?.kind {
        Kind::Folder(folder) => folder.preopen.clone().ok_or(FileError::BadDescriptor),
        Kind::File(_) => Err(FileError::BadDescriptor),
    }
}

pub(super) fn prestat(caller: &mut Caller<'_, State>, fd: i32, at: i32) -> Result<(), FileError> {
    let name = preopen_name(caller, fd)?;
    let mut bytes = [0; 8];
    numbers::put(&mut bytes, 4, &u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    memory_of::write(caller, at, &bytes)
}

pub(super) fn prestat_name(caller: &mut Caller<'_, State>, fd: i32, at: i32, room: i32) -> Result<(), FileError> {
    let name = preopen_name(caller, fd)?;
    if name.len() > unsigned(room) {
        return Err(FileError::NameTooLong);
    }
    memory_of::write(caller, at, name.as_bytes())
}

/// Lists a folder from `cookie` on: 0 looks what is in it, and further ones go on with that.
pub(super) async fn list(
    caller: &mut Caller<'_, State>,
    fd: i32,
    (at, room): (i32, i32),
    cookie: u64,
    used_at: i32,
) -> Result<(), FileError> {
    let folder = table::folder(caller.data_mut(), fd, rights::FD_READDIR)?;
    let (place, kept) = (folder.place.clone(), folder.listing.clone().filter(|_| cookie != 0));
    let room = unsigned(room);
    memory_of::check(caller, at, room)?;
    memory_of::check(caller, used_at, 4)?;
    let listing = match kept {
        Some(listing) => listing,
        None => {
            let listed = place.list(&mut caller.as_context_mut()).await?;
            table::keep_listing(caller.data_mut(), fd, listed)?
        }
    };
    let (mut bytes, room) = (Vec::new(), room.min(MAX_TRANSFER));
    let entries = [(".", true, 0), ("..", true, 0)].into_iter();
    let entries = entries.chain(listing.iter().map(|it| (it.name.as_str(), it.is_folder, it.number)));
    let skipped = usize::try_from(cookie).unwrap_or(usize::MAX);
    for (index, (name, is_folder, number)) in (0_u64..).zip(entries).skip(skipped) {
        if bytes.len() >= room {
            break;
        }
        bytes.reserve(DIRENT_BYTES + name.len());
        bytes.extend(numbers::dirent(index + 1, number, name, is_folder));
        bytes.extend(name.as_bytes());
    }
    // An entry that is cut off is asked for again.
    bytes.truncate(room);
    memory_of::write(caller, at, &bytes)?;
    memory_of::write(caller, used_at, &u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
    memory::copied(caller, 4 * bytes.len()).await;
    Ok(())
}
