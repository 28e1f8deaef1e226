//! The functions of `wasi:filesystem` about paths, from a folder that is open.

use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

use super::codes;
use super::descriptor::{Descriptor, method, number, pushed, roomy};
use crate::abi::component::define::Text;
use crate::abi::files::paths::{self, CREATE, EXCLUSIVE, FOLDER, Opening, TRUNCATE};
use crate::abi::files::{rights, table};
use crate::abi::slots::State;
use crate::process::files::error::FileError;

pub(super) fn link(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    method!(types, "open-at", |store, fd, _lookup: PathFlags, path: Text, how: OpenFlags, flags: DescriptorFlags| {
        roomy(store)?;
        let opened = paths::open(store, fd, path.as_bytes(), opening(how, flags)).await?;
        pushed(store, opened)
    });
    method!(types, "stat-at", |store, fd, _lookup: PathFlags, path: Text| {
        paths::stat(store, fd, path.as_bytes()).await.map(|(stat, _device)| codes::stat(stat))
    });
    method!(types, "metadata-hash-at", |store, fd, _lookup: PathFlags, path: Text| {
        paths::stat(store, fd, path.as_bytes()).await.map(codes::hash)
    });
    method!(types, "set-times-at", |store,
                                    fd,
                                    _lookup: PathFlags,
                                    path: Text,
                                    _accessed: NewTimestamp,
                                    modified: NewTimestamp| {
        let time = codes::modified(modified)?;
        paths::set_times(store, fd, path.as_bytes(), time).await
    });
    method!(types, "create-directory-at", |store, fd, path: Text| {
        paths::create_folder(store, fd, path.as_bytes()).await
    });
    method!(types, "remove-directory-at", |store, fd, path: Text| {
        paths::remove(store, fd, path.as_bytes(), true).await
    });
    method!(types, "unlink-file-at", |store, fd, path: Text| {
        paths::remove(store, fd, path.as_bytes(), false).await
    });
    method!(types, "rename-at", |store, fd, path: Text, to: Resource<Descriptor>, to_path: Text| {
        let to = number(store, &to)?;
        paths::rename(store, (fd, path.as_bytes()), (to, to_path.as_bytes())).await
    });
    method!(types, "readlink-at", |store, fd, path: Text| {
        paths::read_link(store, fd, path.as_bytes()).await.map(|()| String::new())
    });
    // There are no links, of either kind.
    method!(types, "symlink-at", |store, fd, _target: Text, _path: Text| {
        table::folder(store.data_mut(), fd, 0).and(Err::<(), _>(FileError::NotSupported))
    });
    method!(types, "link-at", |store,
                               fd,
                               _lookup: PathFlags,
                               _path: Text,
                               _to: Resource<Descriptor>,
                               _to_path: Text| {
        table::folder(store.data_mut(), fd, 0).and(Err::<(), _>(FileError::NotSupported))
    });
    Ok(())
}

/// What preview 1 would be asked for.
fn opening(how: OpenFlags, flags: DescriptorFlags) -> Opening {
    let asked = [
        (OpenFlags::CREATE, CREATE),
        (OpenFlags::DIRECTORY, FOLDER),
        (OpenFlags::EXCLUSIVE, EXCLUSIVE),
        (OpenFlags::TRUNCATE, TRUNCATE),
    ];
    let how = asked.iter().filter(|(flag, _bit)| how.contains(*flag)).map(|(_flag, bit)| bit).sum();
    let writes = flags.contains(DescriptorFlags::WRITE);
    let all = rights::of_file(writes) | rights::of_folder(true);
    let rights = if flags.contains(DescriptorFlags::READ) || !writes { all } else { all & !rights::FD_READ };
    Opening { how, rights, inheriting: rights::of_file(true) | rights::of_folder(true), flags: 0 }
}
