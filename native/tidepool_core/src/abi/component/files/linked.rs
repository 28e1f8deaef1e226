//! The functions of `wasi:filesystem`, on what a guest has open.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType, WasmList};
use wasmtime_wasi::p2::bindings::filesystem::types::{Advice, DescriptorFlags, ErrorCode, NewTimestamp};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::asker::Asker;
use super::descriptor::{Descriptor, method, number, pushed, roomy};
use super::listing::Listing;
use super::streams::{Broken, Input, Output};
use super::{codes, paths, waiting};
use crate::abi::component::define::{Fault, function, resource};
use crate::abi::component::table::table_of;
use crate::abi::files::open::{Content, Kind};
use crate::abi::files::{content, place, rights, table};
use crate::abi::memory::PIECE_BYTES;
use crate::abi::slots::State;
use crate::process::bounds::account::Share;
use crate::process::files::error::FileError;

const TYPES: &str = "wasi:filesystem/types@0.2.12";
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";

/// Defines both interfaces.
pub(in crate::abi::component) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, index| {
        let open = table_of(&mut store).delete(Resource::<Descriptor>::new_own(index))?;
        // It was closed when its process was.
        let _closed = table::close(store.data_mut(), open.0);
        Ok(())
    })?;
    resource::<Listing>(&mut types, "directory-entry-stream")?;
    function(
        &mut types,
        "[method]directory-entry-stream.read-directory-entry",
        |store, (listing,): (Resource<Listing>,)| -> Result<_, Fault<ErrorCode>> {
            Ok(table_of(store).get_mut(&listing)?.next())
        },
    )?;
    types.func_wrap(
        "filesystem-error-code",
        |mut store: StoreContextMut<'_, State>, (error,): (Resource<wasmtime::Error>,)| {
            let error = table_of(&mut store).get(&error)?;
            Ok((error.downcast_ref::<Broken>().map(|broken| codes::code(broken.0)),))
        },
    )?;
    known(&mut types)?;
    changes(&mut types)?;
    streams(&mut types)?;
    paths::link(&mut types)?;
    waiting::link(linker)?;
    linker
        .instance(PREOPENS)?
        .func_wrap("get-directories", |store: StoreContextMut<'_, State>, (): ()| Ok((directories(store)?,)))
}

fn known(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    method!(types, "get-flags", |store, fd| table::get(store.data_mut(), fd).map(|open| {
        let has = |right: u64, flag| if open.rights & right != 0 { flag } else { DescriptorFlags::empty() };
        has(rights::FD_READ | rights::FD_READDIR, DescriptorFlags::READ)
            | has(rights::FD_WRITE, DescriptorFlags::WRITE)
            | has(rights::PATH_CREATE_FILE, DescriptorFlags::MUTATE_DIRECTORY)
    }));
    method!(types, "get-type", |store, fd| table::get(store.data_mut(), fd)
        .map(|open| codes::kind(matches!(open.kind, Kind::Folder(_)))));
    method!(types, "stat", |store, fd| content::stat(store, fd).await.map(|(stat, _device)| codes::stat(stat)));
    method!(types, "metadata-hash", |store, fd| content::stat(store, fd).await.map(codes::hash));
    method!(types, "read-directory", |store, fd| {
        roomy(store)?;
        let listing = listed(store, fd).await?;
        table_of(store).push(listing)
    });
    types.func_wrap(
        "[method]descriptor.is-same-object",
        |mut store: StoreContextMut<'_, State>, (one, other): (Resource<Descriptor>, Resource<Descriptor>)| {
            let (one, other) = (number(&mut store, &one)?, number(&mut store, &other)?);
            Ok((table::are_same(store.data(), one, other),))
        },
    )
}

fn changes(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    method!(types, "advise", |store, fd, _offset: u64, _length: u64, _advice: Advice| {
        table::file(store.data_mut(), fd, rights::FD_ADVISE).map(drop)
    });
    // There is nothing that would be lost: what is written is written.
    method!(types, "sync-data", |store, fd| table::get(store.data_mut(), fd).map(drop));
    method!(types, "sync", |store, fd| table::get(store.data_mut(), fd).map(drop));
    method!(types, "set-size", |store, fd, size: u64| content::set_size(store, fd, size).await);
    method!(types, "set-times", |store, fd, _accessed: NewTimestamp, modified: NewTimestamp| {
        codes::modified(modified).and_then(|time| content::set_times(store, fd, time))
    });
    method!(types, "read", |store, fd, length: u64, offset: u64| {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let bytes = content::read(store, fd, length, offset).await;
        bytes.map(|bytes| {
            let is_end = bytes.is_empty();
            (bytes, is_end)
        })
    });
    method!(types, "write", |store, fd, bytes: WasmList<u8>, offset: u64| {
        // Copied as far as they are written.
        let bytes = bytes.as_le_slice(&*store);
        let bytes = bytes.get(..content::MAX_TRANSFER).unwrap_or(bytes).to_vec();
        content::write(store, fd, bytes, offset).await
    });
    Ok(())
}

fn streams(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    method!(types, "read-via-stream", |store, fd, offset: u64| {
        let (content, asker) = opened(store, fd, rights::FD_READ)?;
        let stream: DynInputStream = Box::new(Input { content, offset, asker });
        table_of(store).push(stream)
    });
    method!(types, "write-via-stream", |store, fd, offset: u64| writing(store, fd, Some(offset)));
    method!(types, "append-via-stream", |store, fd| writing(store, fd, None));
    Ok(())
}

/// A stream that writes from `offset` on, or at the file's end.
fn writing(
    store: &mut StoreContextMut<'_, State>,
    fd: i32,
    offset: Option<u64>,
) -> Result<Resource<DynOutputStream>, Fault<ErrorCode>> {
    let (content, asker) = opened(store, fd, rights::FD_WRITE)?;
    let stream: DynOutputStream = Box::new(Output { content, offset, kept: Bytes::new(), asker });
    Ok(table_of(store).push(stream)?)
}

/// A file that is open with this right, and how its stream asks the host.
fn opened(store: &mut StoreContextMut<'_, State>, fd: i32, right: u64) -> Result<(Content, Asker), FileError> {
    let (file, _flags) = table::file(store.data_mut(), fd, right)?;
    let content = file.content.clone();
    let state = store.data_mut();
    let call = place::may_ask(state).ok();
    let asker = state.abi.component.asker.get_or_insert_with(Asker::default);
    asker.enter(call);
    Ok((content, asker.clone()))
}

async fn listed(store: &mut StoreContextMut<'_, State>, fd: i32) -> Result<Listing, FileError> {
    let place = table::folder(store.data_mut(), fd, rights::FD_READDIR)?.place.clone();
    let entries = place.list(store).await?;
    let guest = store.data().abi.guest.as_ref().ok_or(FileError::BadDescriptor)?;
    Listing::new(entries, Share::new(&guest.program.account, 0)).ok_or(FileError::NoMemory)
}

/// The folders of the guest, each a descriptor of its own.
fn directories(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
    let mut found = Vec::new();
    for (name, copy) in table::preopens(store.data()) {
        let fd = table::add(store.data_mut(), copy).map_err(|error| wasmtime::Error::msg(format!("{error:?}")))?;
        found.push((pushed(&mut store, fd)?, name.as_ref().to_owned()));
    }
    Ok(found)
}
