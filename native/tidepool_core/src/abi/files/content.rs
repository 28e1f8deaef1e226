//! What is done with something that is open, for guests of all WASIs.

use wasmtime::StoreContextMut;

use super::open::{Content, Kind};
use super::place::{HOST_DEVICE, MEMORY_DEVICE, ask, done, stat_on_host};
use super::{place, rights, table};
use crate::abi::memory::copied_of;
use crate::abi::slots::State;
use crate::base::request::FileOperation;
use crate::process::files::error::FileError;
use crate::process::files::memory::Stat;

/// Bytes that one call reads or writes at most.
pub(in crate::abi) const MAX_TRANSFER: usize = 256 << 10;

pub(in crate::abi) async fn known(
    store: &mut StoreContextMut<'_, State>,
    content: &Content,
) -> Result<Stat, FileError> {
    match content {
        Content::Memory(file) => {
            Ok(Stat { is_folder: false, size: file.size(), modified_ns: file.modified_ns(), number: file.number })
        }
        Content::Host(folder, path) => stat_on_host(store, folder, path).await,
    }
}

/// What is known of it, and the number of its device.
pub(in crate::abi) async fn stat(store: &mut StoreContextMut<'_, State>, fd: i32) -> Result<(Stat, u64), FileError> {
    let open = table::get(store.data_mut(), fd)?;
    open.needs(rights::FD_FILESTAT_GET)?;
    let place = match &open.kind {
        Kind::Folder(folder) => folder.place.clone(),
        Kind::File(file) => {
            let content = file.content.clone();
            let device = if matches!(content, Content::Memory(_)) { MEMORY_DEVICE } else { HOST_DEVICE };
            return Ok((known(store, &content).await?, device));
        }
    };
    let stat = place.stat(store).await?;
    Ok((stat, place.device()))
}

pub(in crate::abi) async fn set_size(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    size: u64,
) -> Result<(), FileError> {
    let (file, _flags) = table::file(store.data_mut(), fd, rights::FD_FILESTAT_SET_SIZE)?;
    match file.content.clone() {
        Content::Memory(file) => file.resize(size),
        Content::Host(folder, path) => done(ask(store, &folder, &path, FileOperation::Resize { size }).await),
    }
}

/// Says when it was last changed, if that is to be said.
pub(in crate::abi) fn set_times(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    modified_ns: Option<u64>,
) -> Result<(), FileError> {
    let open = table::get(store.data_mut(), fd)?;
    open.needs(rights::FD_FILESTAT_SET_TIMES)?;
    let Some(time) = modified_ns else { return Ok(()) };
    match &open.kind {
        Kind::Folder(folder) => folder.place.set_modified_ns(time),
        Kind::File(file) => match &file.content {
            Content::Memory(file) => {
                file.set_modified_ns(time);
                Ok(())
            }
            Content::Host(..) => Err(FileError::NotSupported),
        },
    }
}

/// Bytes from `offset` on, `length` at most; fewer at its end.
pub(in crate::abi) async fn read(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    length: usize,
    offset: u64,
) -> Result<Vec<u8>, FileError> {
    let (file, _flags) = table::file(store.data_mut(), fd, rights::FD_READ)?;
    match file.content.clone() {
        Content::Memory(file) => {
            let left = usize::try_from(file.size().saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.min(left)];
            let count = file.read(offset, &mut bytes);
            bytes.truncate(count);
            Ok(bytes)
        }
        Content::Host(folder, path) => place::read(store, &folder, &path, offset, length).await.map(Into::into),
    }
}

/// Writes bytes from `offset` on: how many.
pub(in crate::abi) async fn write(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    bytes: Vec<u8>,
    offset: u64,
) -> Result<u64, FileError> {
    let (file, _flags) = table::file(store.data_mut(), fd, rights::FD_WRITE)?;
    let count = bytes.len() as u64;
    match file.content.clone() {
        _ if bytes.is_empty() => {}
        Content::Memory(file) => drop(file.write(Some(offset), &bytes)?),
        Content::Host(folder, path) => {
            done(ask(store, &folder, &path, FileOperation::Write { offset: Some(offset), bytes }).await)?;
        }
    }
    copied_of(store, usize::try_from(count).unwrap_or(usize::MAX)).await;
    Ok(count)
}
