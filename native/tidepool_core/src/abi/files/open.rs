//! What a guest has open in its folders, by number.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rights;
use crate::process::bounds::account::{Account, Share, TABLE_BYTES};
use crate::process::files::File;
use crate::process::files::error::FileError;
use crate::process::files::folder::{Preopen, Source};
use crate::process::files::memory::Listed;
use crate::process::files::path::FilePath;

/// Most that a process has open, its folders among them.
const MAX_OPEN: usize = 1_024;
/// What something open takes beside its path.
const DESCRIPTOR_BYTES: usize = 256;
/// What an entry of a list takes beside its name.
const LISTED_BYTES: usize = 64;
/// The first number that is not the library's.
pub(in crate::abi) const FIRST: u32 = 3;

/// What a guest has open.
pub(in crate::abi) struct Files {
    pub(in crate::abi) open: BTreeMap<u32, Descriptor>,
    pub(in crate::abi) share: Share,
    pub(in crate::abi) bytes: usize,
}

/// A path in what answers for it.
#[derive(Clone)]
pub(in crate::abi) struct Place {
    pub(in crate::abi) source: Source,
    pub(in crate::abi) path: FilePath,
}

/// Something that is open.
pub(in crate::abi) struct Descriptor {
    /// What may be done with it, and with what is opened from there.
    pub(in crate::abi) rights: u64,
    pub(in crate::abi) inheriting: u64,
    /// `fdflags`.
    pub(in crate::abi) flags: u16,
    pub(in crate::abi) kind: Kind,
}

pub(in crate::abi) enum Kind {
    Folder(OpenFolder),
    File(OpenFile),
}

pub(in crate::abi) struct OpenFolder {
    /// The guest's name for it, if it has found it when it began.
    pub(in crate::abi) preopen: Option<Arc<str>>,
    pub(in crate::abi) place: Place,
    pub(in crate::abi) writable: bool,
    /// What was in it when the guest last began to list it.
    pub(in crate::abi) listing: Option<Arc<[Listed]>>,
}

#[derive(Clone)]
pub(in crate::abi) struct OpenFile {
    pub(in crate::abi) content: Content,
    pub(in crate::abi) offset: u64,
}

/// Where a file is.
#[derive(Clone)]
pub(in crate::abi) enum Content {
    Memory(Arc<File>),
    /// On the host, by its path: one of another name is not found any more.
    Host(Arc<str>, FilePath),
}

impl Kind {
    pub(super) fn is(&self, other: &Kind) -> bool {
        match (self, other) {
            (Kind::Folder(OpenFolder { place: one, .. }), Kind::Folder(OpenFolder { place: other, .. })) => {
                one.source.is(&other.source) && one.path == other.path
            }
            (Kind::File(OpenFile { content: one, .. }), Kind::File(OpenFile { content: other, .. })) => {
                match (one, other) {
                    (Content::Memory(one), Content::Memory(other)) => Arc::ptr_eq(one, other),
                    (Content::Host(folder, path), Content::Host(other, at)) => folder == other && path == at,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl Descriptor {
    pub(in crate::abi) fn bytes(&self) -> usize {
        let more = match &self.kind {
            Kind::Folder(folder) => {
                let listed = folder.listing.iter().flat_map(|listing| listing.iter());
                let listed: usize = listed.map(|it| it.name.len() + LISTED_BYTES).sum();
                folder.place.path.as_str().len() + listed
            }
            Kind::File(OpenFile { content: Content::Host(_, path), .. }) => path.as_str().len(),
            Kind::File(_) => 0,
        };
        DESCRIPTOR_BYTES + more
    }

    /// # Errors
    /// [`FileError::NotCapable`].
    pub(in crate::abi) fn needs(&self, right: u64) -> Result<(), FileError> {
        if self.rights & right == right { Ok(()) } else { Err(FileError::NotCapable) }
    }
}

impl Files {
    pub(in crate::abi) fn new(folders: &[Preopen], account: &Arc<Account>) -> Self {
        let mut files = Files { open: BTreeMap::new(), share: Share::new(account, TABLE_BYTES), bytes: 0 };
        for (number, folder) in (FIRST..).zip(folders) {
            let place = Place { source: folder.source.clone(), path: folder.path.clone() };
            let (name, writable) = (Some(Arc::clone(&folder.name)), folder.writable);
            let rights = rights::of_folder(writable);
            let kind = Kind::Folder(OpenFolder { preopen: name, place, writable, listing: None });
            let inheriting = rights | rights::of_file(writable);
            let descriptor = Descriptor { rights, inheriting, flags: 0, kind };
            files.bytes += descriptor.bytes();
            files.open.insert(number, descriptor);
        }
        files.share.keep(files.bytes);
        files
    }

    pub(in crate::abi) fn len(&self) -> usize {
        self.open.len()
    }

    /// Adds something, with the lowest number that is free.
    pub(in crate::abi) fn add(&mut self, descriptor: Descriptor) -> Result<u32, FileError> {
        if self.open.len() >= MAX_OPEN {
            return Err(FileError::TooManyOpen);
        }
        let bytes = descriptor.bytes();
        if !self.share.hold(self.bytes + bytes) {
            return Err(FileError::NoMemory);
        }
        self.bytes += bytes;
        let taken = self.open.range(FIRST..).map(|(number, _)| *number);
        let number = (FIRST..).zip(taken).find(|(free, taken)| free != taken).map(|(free, _taken)| free);
        let number = number.unwrap_or_else(|| FIRST + u32::try_from(self.open.range(FIRST..).count()).unwrap_or(0));
        self.open.insert(number, descriptor);
        Ok(number)
    }

    pub(in crate::abi) fn remove(&mut self, number: u32) -> Option<Descriptor> {
        let removed = self.open.remove(&number)?;
        self.bytes -= removed.bytes();
        // Less always fits.
        let _less = self.share.hold(self.bytes);
        Some(removed)
    }
}
