//! A guest's table of what it has open in its folders: how its functions find, add and remove that.

use std::sync::Arc;

use wasmtime::Caller;

use super::open::{Descriptor, FIRST, Files, Kind, OpenFile, OpenFolder};
use crate::abi::slots::State;
use crate::process::files::error::FileError;
use crate::process::files::memory::Listed;

/// Has the guest any folders?
pub(super) fn exists(caller: &Caller<'_, State>) -> bool {
    caller.data().abi.wasi.files.is_some()
}

/// Is it in the guest's table, and not the library's?
pub(super) fn has(caller: &Caller<'_, State>, fd: i32) -> bool {
    let files = caller.data().abi.wasi.files.as_ref();
    files.is_some_and(|files| files.open.contains_key(&fd.cast_unsigned()))
}

fn files<'a>(caller: &'a mut Caller<'_, State>) -> Result<&'a mut Files, FileError> {
    caller.data_mut().abi.wasi.files.as_deref_mut().ok_or(FileError::BadDescriptor)
}

pub(super) fn get<'a>(caller: &'a mut Caller<'_, State>, fd: i32) -> Result<&'a mut Descriptor, FileError> {
    files(caller)?.open.get_mut(&fd.cast_unsigned()).ok_or(FileError::BadDescriptor)
}

/// An open file with these rights.
pub(super) fn file<'a>(
    caller: &'a mut Caller<'_, State>,
    fd: i32,
    right: u64,
) -> Result<(&'a mut OpenFile, u16), FileError> {
    let descriptor = get(caller, fd)?;
    let lacks = descriptor.needs(right);
    match &mut descriptor.kind {
        Kind::Folder(_) => Err(FileError::IsFolder),
        Kind::File(file) => lacks.map(|()| (file, descriptor.flags)),
    }
}

/// An open folder with these rights.
pub(super) fn folder<'a>(
    caller: &'a mut Caller<'_, State>,
    fd: i32,
    right: u64,
) -> Result<&'a mut OpenFolder, FileError> {
    let descriptor = get(caller, fd)?;
    let lacks = descriptor.needs(right);
    match &mut descriptor.kind {
        Kind::File(_) => Err(FileError::NotFolder),
        Kind::Folder(folder) => lacks.map(|()| folder),
    }
}

/// Adds something that was opened.
pub(super) fn add(caller: &mut Caller<'_, State>, descriptor: Descriptor) -> Result<u32, FileError> {
    files(caller)?.add(descriptor)
}

pub(super) fn close(caller: &mut Caller<'_, State>, fd: i32) -> Result<(), FileError> {
    files(caller)?.remove(fd.cast_unsigned()).map(drop).ok_or(FileError::BadDescriptor)
}

/// Gives something open another number, in place of what has that.
pub(super) fn renumber(caller: &mut Caller<'_, State>, from: i32, to: i32) -> Result<(), FileError> {
    if from == to {
        return get(caller, from).map(|_open| ());
    }
    let files = files(caller)?;
    let (from, to) = (from.cast_unsigned(), to.cast_unsigned());
    // Standard input and output are open, unless they were closed: then they are again.
    if !files.open.contains_key(&from) || !(to < FIRST || files.open.contains_key(&to)) {
        return Err(FileError::BadDescriptor);
    }
    drop(files.remove(to));
    if let Some(descriptor) = files.open.remove(&from) {
        files.open.insert(to, descriptor);
    }
    Ok(())
}

/// Keeps what is in a folder for as long as the guest lists it.
pub(super) fn keep_listing(
    caller: &mut Caller<'_, State>,
    fd: i32,
    listing: Vec<Listed>,
) -> Result<Arc<[Listed]>, FileError> {
    let files = files(caller)?;
    let descriptor = files.open.get_mut(&fd.cast_unsigned()).ok_or(FileError::BadDescriptor)?;
    let before = descriptor.bytes();
    let Kind::Folder(folder) = &mut descriptor.kind else { return Err(FileError::NotFolder) };
    let listing: Arc<[Listed]> = listing.into();
    folder.listing = Some(Arc::clone(&listing));
    let bytes = files.bytes - before + descriptor.bytes();
    if !files.share.hold(bytes) {
        if let Kind::Folder(folder) = &mut descriptor.kind {
            folder.listing = None;
        }
        files.bytes = files.bytes - before + descriptor.bytes();
        return Err(FileError::NoMemory);
    }
    files.bytes = bytes;
    Ok(listing)
}
