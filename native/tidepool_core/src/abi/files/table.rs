//! A guest's table of what it has open in its folders: how its functions find, add and remove that.

use std::sync::Arc;

use super::open::{Descriptor, FIRST, Files, Kind, OpenFile, OpenFolder};
use crate::abi::slots::State;
use crate::process::files::error::FileError;
use crate::process::files::memory::Listed;

/// Has the guest any folders?
pub(in crate::abi) fn exists(state: &State) -> bool {
    state.abi.files.is_some()
}

/// Is it in the guest's table, and not the library's?
pub(in crate::abi) fn has(state: &State, fd: i32) -> bool {
    let files = state.abi.files.as_ref();
    files.is_some_and(|files| files.open.contains_key(&fd.cast_unsigned()))
}

fn files(state: &mut State) -> Result<&mut Files, FileError> {
    state.abi.files.as_deref_mut().ok_or(FileError::BadDescriptor)
}

pub(in crate::abi) fn get(state: &mut State, fd: i32) -> Result<&mut Descriptor, FileError> {
    files(state)?.open.get_mut(&fd.cast_unsigned()).ok_or(FileError::BadDescriptor)
}

/// An open file with these rights.
pub(in crate::abi) fn file(state: &mut State, fd: i32, right: u64) -> Result<(&mut OpenFile, u16), FileError> {
    let descriptor = get(state, fd)?;
    let lacks = descriptor.needs(right);
    match &mut descriptor.kind {
        Kind::Folder(_) => Err(FileError::IsFolder),
        Kind::File(file) => lacks.map(|()| (file, descriptor.flags)),
    }
}

/// An open folder with these rights.
pub(in crate::abi) fn folder(state: &mut State, fd: i32, right: u64) -> Result<&mut OpenFolder, FileError> {
    let descriptor = get(state, fd)?;
    let lacks = descriptor.needs(right);
    match &mut descriptor.kind {
        Kind::File(_) => Err(FileError::NotFolder),
        Kind::Folder(folder) => lacks.map(|()| folder),
    }
}

/// Do both numbers lead to the same file, or folder?
pub(in crate::abi) fn are_same(state: &State, one: i32, other: i32) -> bool {
    let open = |fd: i32| state.abi.files.as_ref()?.open.get(&fd.cast_unsigned());
    matches!((open(one), open(other)), (Some(one), Some(other)) if one.kind.is(&other.kind))
}

/// Adds something that was opened.
pub(in crate::abi) fn add(state: &mut State, descriptor: Descriptor) -> Result<u32, FileError> {
    files(state)?.add(descriptor)
}

pub(in crate::abi) fn close(state: &mut State, fd: i32) -> Result<(), FileError> {
    files(state)?.remove(fd.cast_unsigned()).map(drop).ok_or(FileError::BadDescriptor)
}

/// Gives something open another number, in place of what has that.
pub(in crate::abi) fn renumber(state: &mut State, from: i32, to: i32) -> Result<(), FileError> {
    if from == to {
        return get(state, from).map(|_open| ());
    }
    let files = files(state)?;
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
pub(in crate::abi) fn keep_listing(
    state: &mut State,
    fd: i32,
    listing: Vec<Listed>,
) -> Result<Arc<[Listed]>, FileError> {
    let files = files(state)?;
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

/// The folders that the guest found when it began: the names of them, and a descriptor for each to be opened again.
pub(in crate::abi) fn preopens(state: &State) -> Vec<(Arc<str>, Descriptor)> {
    let open = state.abi.files.iter().flat_map(|files| files.open.values());
    open.filter_map(|descriptor| {
        let Kind::Folder(OpenFolder { preopen: Some(name), place, writable, .. }) = &descriptor.kind else {
            return None;
        };
        let folder = OpenFolder { preopen: None, place: place.clone(), writable: *writable, listing: None };
        let copy = Descriptor { kind: Kind::Folder(folder), ..*descriptor };
        Some((Arc::clone(name), copy))
    })
    .collect()
}
