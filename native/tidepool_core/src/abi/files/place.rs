//! A path in a folder: what is done there, in memory at once, on the host by a step out to the driver.

use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use wasmtime::StoreContextMut;

use super::open::Place;
use crate::abi::memory::copied_of;
use crate::abi::slots::State;
use crate::base::request::{FileOperation, FileRequest, HostRequest};
use crate::process::bounds::account::Share;
use crate::process::files::error::FileError;
use crate::process::files::folder::Source;
use crate::process::files::memory::{Listed, Stat};
use crate::process::files::path::FilePath;
use crate::store::host_channel::GuestCall;
use crate::store::resting;

/// Most that a folder of the host's may list.
const MAX_LISTED: usize = 65_536;
/// What one of them takes as long as copying, in bytes, and how many are read without a pause.
const LISTED_COST: usize = 512;
const LISTED_AT_ONCE: usize = 256;
/// Longest name.
const MAX_NAME_BYTES: usize = 255;

/// Numbers of devices, as guests see them.
pub(in crate::abi) const MEMORY_DEVICE: u64 = 1;
pub(in crate::abi) const HOST_DEVICE: u64 = 2;

impl Place {
    /// The number of the device that it is on.
    pub(in crate::abi) fn device(&self) -> u64 {
        match self.source {
            Source::Memory(_) => MEMORY_DEVICE,
            Source::Host(_) => HOST_DEVICE,
        }
    }

    pub(in crate::abi) async fn stat(&self, store: &mut StoreContextMut<'_, State>) -> Result<Stat, FileError> {
        match &self.source {
            Source::Memory(memory) => memory.stat(&self.path),
            Source::Host(folder) => stat_on_host(store, folder, &self.path).await,
        }
    }

    pub(in crate::abi) async fn list(&self, store: &mut StoreContextMut<'_, State>) -> Result<Vec<Listed>, FileError> {
        match &self.source {
            Source::Memory(memory) => {
                let listed = memory.list(&self.path)?;
                copied_of(store, listed.len() * LISTED_COST).await;
                Ok(listed)
            }
            Source::Host(folder) => {
                let answer = ask(store, folder, &self.path, FileOperation::List).await?;
                listing(store, folder, &self.path, &answer).await
            }
        }
    }

    pub(in crate::abi) async fn create(
        &self,
        store: &mut StoreContextMut<'_, State>,
        is_folder: bool,
    ) -> Result<(), FileError> {
        match &self.source {
            Source::Memory(memory) => memory.create(&self.path, is_folder),
            Source::Host(folder) => {
                done(ask(store, folder, &self.path, FileOperation::Create { folder: is_folder }).await)
            }
        }
    }

    pub(in crate::abi) async fn remove(
        &self,
        store: &mut StoreContextMut<'_, State>,
        is_folder: bool,
    ) -> Result<(), FileError> {
        if self.path.is_root() {
            return Err(FileError::Busy);
        }
        match &self.source {
            Source::Memory(memory) => memory.remove(&self.path, is_folder),
            Source::Host(folder) => {
                done(ask(store, folder, &self.path, FileOperation::Remove { folder: is_folder }).await)
            }
        }
    }

    pub(in crate::abi) async fn rename(
        &self,
        store: &mut StoreContextMut<'_, State>,
        to: &Place,
    ) -> Result<(), FileError> {
        if !self.source.is(&to.source) {
            return Err(FileError::CrossDevice);
        }
        if self.path.is_root() || to.path.is_root() {
            return Err(FileError::Busy);
        }
        match &self.source {
            Source::Memory(memory) => memory.rename(&self.path, &to.path),
            Source::Host(folder) => {
                let operation = FileOperation::Rename { to: to.path.as_str().to_owned() };
                done(ask(store, folder, &self.path, operation).await)
            }
        }
    }

    /// Says when it was last changed, as far as that can be said.
    pub(in crate::abi) fn set_modified_ns(&self, time: u64) -> Result<(), FileError> {
        match &self.source {
            Source::Memory(memory) => memory.set_modified_ns(&self.path, time),
            Source::Host(_) => Err(FileError::NotSupported),
        }
    }
}

pub(in crate::abi) async fn stat_on_host(
    store: &mut StoreContextMut<'_, State>,
    folder: &Arc<str>,
    path: &FilePath,
) -> Result<Stat, FileError> {
    let known = ask(store, folder, path, FileOperation::Stat).await?;
    let (Some((kind, numbers)), 17) = (known.split_first(), known.len()) else { return Err(FileError::Io) };
    let number = |at: usize| numbers.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |it| u64::from_le_bytes(*it));
    let (at, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
    Ok(Stat { is_folder: *kind == 1, size: number(0), modified_ns: number(8), number: number_of(folder, at, name) })
}

/// Asks the host.
pub(in crate::abi) async fn ask(
    store: &mut StoreContextMut<'_, State>,
    folder: &Arc<str>,
    path: &FilePath,
    operation: FileOperation,
) -> Result<Bytes, FileError> {
    let call = may_ask(store.data())?;
    // Counted as its function's until it is answered: it is on the host twice, here and where it is written.
    let mut share = None;
    if !store.data().has_on_host(&mut share, operation.size()) {
        return Err(FileError::NoMemory);
    }
    let reply = ask_by(&call, folder, path, operation).await;
    resting::begin_slice(&mut *store);
    reply
}

/// The call by whose driver the guest may ask.
pub(in crate::abi) fn may_ask(state: &State) -> Result<GuestCall, FileError> {
    // While a start section runs, nobody would answer.
    let is_made = state.instance.is_some() || state.abi.component.is_bound;
    let call = state.call.clone().filter(|_call| is_made).ok_or(FileError::Io)?;
    state.note_memory();
    Ok(call)
}

/// Asks by the driver of this call.
pub(in crate::abi) async fn ask_by(
    call: &GuestCall,
    folder: &Arc<str>,
    path: &FilePath,
    operation: FileOperation,
) -> Result<Bytes, FileError> {
    let request = FileRequest { folder: folder.as_ref().to_owned(), path: path.as_str().to_owned(), operation };
    call.channel.ask(HostRequest::File(request)).await.map_err(|name| FileError::named(&name))
}

/// Bytes of a file of the host's, `length` at most. Nothing is asked for nothing.
pub(in crate::abi) async fn read(
    store: &mut StoreContextMut<'_, State>,
    folder: &Arc<str>,
    path: &FilePath,
    offset: u64,
    length: usize,
) -> Result<Bytes, FileError> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    let call = may_ask(store.data())?;
    let got = read_by(&call, folder, path, offset, length).await;
    resting::begin_slice(&mut *store);
    got
}

/// The same by the driver of this call.
pub(in crate::abi) async fn read_by(
    call: &GuestCall,
    folder: &Arc<str>,
    path: &FilePath,
    offset: u64,
    length: usize,
) -> Result<Bytes, FileError> {
    let operation = FileOperation::Read { offset, length: u32::try_from(length).unwrap_or(u32::MAX) };
    let got = ask_by(call, folder, path, operation).await?;
    if got.len() > length { Err(FileError::Io) } else { Ok(got) }
}

/// What is answered to what has no answer.
pub(in crate::abi) fn done(answer: Result<Bytes, FileError>) -> Result<(), FileError> {
    answer.map(|_nothing| ())
}

/// A number that tells a file of the host's from others of its folder.
fn number_of(folder: &str, at: &str, name: &str) -> u64 {
    FixedState::default().hash_one((folder, at, name))
}

/// What the host answers that is in a folder. The answer counts as the program's meanwhile, and so does what is made of it.
async fn listing(
    store: &mut StoreContextMut<'_, State>,
    folder: &str,
    at: &FilePath,
    answer: &[u8],
) -> Result<Vec<Listed>, FileError> {
    let guest = store.data().abi.guest.as_ref();
    let mut share = guest.map_or_else(Share::default, |guest| Share::new(&guest.program.account, 0));
    let (mut all, mut bytes) = (Vec::new(), answer);
    while let Some((kind, rest)) = bytes.split_first() {
        if all.len().is_multiple_of(LISTED_AT_ONCE) {
            if !share.hold(2 * answer.len() + (all.len() + LISTED_AT_ONCE) * size_of::<Listed>()) {
                return Err(FileError::NoMemory);
            }
            copied_of(store, LISTED_AT_ONCE * LISTED_COST).await;
        }
        let (length, rest) = rest.split_first_chunk().ok_or(FileError::Io)?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(FileError::Io)?;
        let name = std::str::from_utf8(name).map_err(|_| FileError::Io)?;
        let fits = !name.is_empty() && ![".", ".."].contains(&name) && !name.contains(['/', '\0']);
        if !fits || name.len() > MAX_NAME_BYTES || all.len() >= MAX_LISTED {
            return Err(FileError::Io);
        }
        let number = number_of(folder, at.as_str(), name);
        all.push(Listed { name: name.to_owned(), is_folder: *kind == 1, number });
        bytes = rest;
    }
    Ok(all)
}
