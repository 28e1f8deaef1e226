//! The functions of preview 1 that are about files: for what a guest has open in its folders those of this room, else the
//! library's.

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as library;

use super::errno::code;
use super::{descriptors, paths, transfer};
use crate::abi::files::{rights, table};
use crate::abi::slots::State;
use crate::abi::wasi::bounded::{self, BADF, WASI_MODULE, world};

/// Defines a function about a descriptor, the first argument: `$own` serves it when the descriptor is the guest's table's, and
/// `$other` when it is the library's.
macro_rules! descriptor {
    ($linker:ident, $name:ident, |$caller:ident, $fd:ident $(, $arg:ident: $ty:ty)*| $own:expr, $other:expr) => {
        $linker.func_wrap_async(WASI_MODULE, stringify!($name), |caller: Caller<'_, State>, args: (i32, $($ty),*)| {
            Box::new(async move {
                let (mut caller, ($fd, $($arg),*)) = (caller, args);
                let $caller = &mut caller;
                if table::has($caller.data(), $fd) { Ok(code($own)) } else { $other }
            })
        })?;
    };
}

/// The same, with the library's function of that name, which waits or not.
macro_rules! with_library {
    ($linker:ident, $name:ident, |$caller:ident, $fd:ident $(, $arg:ident: $ty:ty)*| $own:expr $(, $wait:ident)?) => {
        descriptor!($linker, $name, |$caller, $fd $(, $arg: $ty)*| $own, {
            let (mut memory, context) = world($caller)?;
            library::$name(context, &mut memory, $fd $(, $arg)*)$(.$wait)?
        })
    };
}

/// Defines a function about paths: without folders, no path leads anywhere, however long it is.
macro_rules! path {
    ($linker:ident, $name:ident, |$caller:ident $(, $arg:ident: $ty:ty)*| $own:expr) => {
        $linker.func_wrap_async(WASI_MODULE, stringify!($name), |caller: Caller<'_, State>, args: ($($ty,)*)| {
            Box::new(async move {
                let (mut caller, ($($arg,)*)) = (caller, args);
                let $caller = &mut caller;
                Ok(if table::exists($caller.data()) { code($own) } else { BADF })
            })
        })?;
    };
}

/// Defines them in place of the linker's.
pub(in crate::abi::wasi) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    transfers(linker)?;
    descriptors(linker)?;
    paths(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn transfers(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    descriptor!(
        linker,
        fd_read,
        |caller, fd, list: i32, length: i32, count_at: i32| transfer::read(caller, fd, (list, length), None, count_at)
            .await,
        bounded::fd_read(caller, (fd, list, length, count_at)).await
    );
    descriptor!(
        linker,
        fd_pread,
        |caller, fd, list: i32, length: i32, at: i64, count_at: i32| {
            transfer::read(caller, fd, (list, length), Some(at.cast_unsigned()), count_at).await
        },
        bounded::fd_pread(caller, (fd, list, length, at, count_at)).await
    );
    descriptor!(
        linker,
        fd_write,
        |caller, fd, list: i32, length: i32, count_at: i32| transfer::write(caller, fd, (list, length), None, count_at)
            .await,
        bounded::fd_write(caller, (fd, list, length, count_at)).await
    );
    descriptor!(
        linker,
        fd_pwrite,
        |caller, fd, list: i32, length: i32, at: i64, count_at: i32| {
            transfer::write(caller, fd, (list, length), Some(at.cast_unsigned()), count_at).await
        },
        bounded::fd_pwrite(caller, (fd, list, length, at, count_at)).await
    );
    Ok(())
}

fn descriptors(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    with_library!(
        linker,
        fd_advise,
        |caller, fd, _from: i64, _length: i64, advice: i32| descriptors::advise(caller, fd, advice),
        await
    );
    with_library!(linker, fd_allocate, |caller, fd, _from: i64, _length: i64| descriptors::allocate(caller, fd));
    descriptor!(linker, fd_close, |caller, fd| table::close(caller.data_mut(), fd), {
        caller.data_mut().abi.wasi.closed = true;
        let (mut memory, context) = world(caller)?;
        library::fd_close(context, &mut memory, fd).await
    });
    with_library!(linker, fd_datasync, |caller, fd| descriptors::sync(caller, fd, rights::FD_DATASYNC), await);
    with_library!(linker, fd_sync, |caller, fd| descriptors::sync(caller, fd, rights::FD_SYNC), await);
    with_library!(linker, fd_fdstat_get, |caller, fd, at: i32| descriptors::fdstat(caller, fd, at), await);
    with_library!(linker, fd_fdstat_set_flags, |caller, fd, flags: i32| descriptors::set_flags(caller, fd, flags));
    with_library!(linker, fd_fdstat_set_rights, |caller, fd, rights: i64, inheriting: i64| {
        descriptors::set_rights(caller, fd, rights.cast_unsigned(), inheriting.cast_unsigned())
    });
    with_library!(linker, fd_filestat_get, |caller, fd, at: i32| descriptors::tell_stat(caller, fd, at).await, await);
    with_library!(
        linker,
        fd_filestat_set_size,
        |caller, fd, size: i64| descriptors::set_size(caller, fd, size.cast_unsigned()).await,
        await
    );
    with_library!(
        linker,
        fd_filestat_set_times,
        |caller, fd, _accessed: i64, modified: i64, flags: i32| {
            descriptors::set_times(caller, fd, modified.cast_unsigned(), flags)
        },
        await
    );
    with_library!(linker, fd_prestat_get, |caller, fd, at: i32| descriptors::prestat(caller, fd, at));
    with_library!(linker, fd_prestat_dir_name, |caller, fd, at: i32, room: i32| {
        descriptors::prestat_name(caller, fd, at, room)
    });
    with_library!(
        linker,
        fd_readdir,
        |caller, fd, at: i32, room: i32, cookie: i64, used_at: i32| {
            descriptors::list(caller, fd, (at, room), cookie.cast_unsigned(), used_at).await
        },
        await
    );
    with_library!(
        linker,
        fd_seek,
        |caller, fd, by: i64, whence: i32, at: i32| descriptors::seek(caller, fd, by, whence, at).await,
        await
    );
    with_library!(linker, fd_tell, |caller, fd, at: i32| descriptors::tell(caller, fd, at));
    linker.func_wrap_async(WASI_MODULE, "fd_renumber", |mut caller: Caller<'_, State>, (from, to): (i32, i32)| {
        Box::new(async move {
            if table::has(caller.data(), from) || table::has(caller.data(), to) {
                return Ok(code(table::renumber(caller.data_mut(), from, to)));
            }
            caller.data_mut().abi.wasi.closed = true;
            let (mut memory, context) = world(&mut caller)?;
            library::fd_renumber(context, &mut memory, from, to).await
        })
    })?;
    Ok(())
}

fn paths(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    path!(linker, path_create_directory, |caller, fd: i32, path: i32, length: i32| {
        paths::create_folder(caller, fd, (path, length)).await
    });
    path!(linker, path_remove_directory, |caller, fd: i32, path: i32, length: i32| {
        paths::remove(caller, fd, (path, length), true).await
    });
    path!(linker, path_unlink_file, |caller, fd: i32, path: i32, length: i32| {
        paths::remove(caller, fd, (path, length), false).await
    });
    path!(linker, path_filestat_get, |caller, fd: i32, _lookup: i32, path: i32, length: i32, at: i32| {
        paths::tell_stat(caller, fd, (path, length), at).await
    });
    path!(linker, path_filestat_set_times, |caller,
                                            fd: i32,
                                            _lookup: i32,
                                            path: i32,
                                            length: i32,
                                            _accessed: i64,
                                            modified: i64,
                                            flags: i32| {
        paths::set_times(caller, fd, (path, length), modified.cast_unsigned(), flags).await
    });
    path!(linker, path_rename, |caller, fd: i32, path: i32, length: i32, to_fd: i32, to: i32, to_length: i32| {
        paths::rename(caller, (fd, (path, length)), (to_fd, (to, to_length))).await
    });
    path!(linker, path_open, |caller,
                              fd: i32,
                              _lookup: i32,
                              path: i32,
                              length: i32,
                              how: i32,
                              rights: i64,
                              inheriting: i64,
                              flags: i32,
                              at: i32| {
        let (rights, inheriting) = (rights.cast_unsigned(), inheriting.cast_unsigned());
        paths::open(caller, fd, (path, length), (how, flags), (rights, inheriting), at).await
    });
    path!(linker, path_readlink, |caller, fd: i32, path: i32, length: i32, _at: i32, _room: i32, _used_at: i32| {
        paths::read_link(caller, fd, (path, length)).await
    });
    path!(linker, path_symlink, |caller, _target: i32, _target_length: i32, fd: i32, _path: i32, _length: i32| {
        paths::link(caller, &[fd])
    });
    path!(linker, path_link, |caller,
                              fd: i32,
                              _lookup: i32,
                              _path: i32,
                              _length: i32,
                              to_fd: i32,
                              _to: i32,
                              _to_length: i32| paths::link(caller, &[fd, to_fd]));
    Ok(())
}
