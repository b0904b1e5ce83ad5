//! The names that a module may import, and what each is bound to.

use super::{errno, files, stdio};
use crate::guest::{Cell, Fault, Guest, Halt, host_call};
use wasmtime::{Caller, Linker};

const WASI: &str = "wasi_snapshot_preview1";
const PRODUCT: &str = muster_kernel::IMPORT_MODULE;

/// Every import that format `wasm-det-v1` offers, as (module, name).
pub const IMPORTS: &[(&str, &str)] = &[
    (PRODUCT, "matmul_f32"),
    (PRODUCT, "matmul_nt_f32"),
    (PRODUCT, "matmul_tn_f32"),
    (WASI, "args_get"),
    (WASI, "args_sizes_get"),
    (WASI, "clock_res_get"),
    (WASI, "clock_time_get"),
    (WASI, "environ_get"),
    (WASI, "environ_sizes_get"),
    (WASI, "fd_advise"),
    (WASI, "fd_allocate"),
    (WASI, "fd_close"),
    (WASI, "fd_datasync"),
    (WASI, "fd_fdstat_get"),
    (WASI, "fd_fdstat_set_flags"),
    (WASI, "fd_fdstat_set_rights"),
    (WASI, "fd_filestat_get"),
    (WASI, "fd_filestat_set_size"),
    (WASI, "fd_filestat_set_times"),
    (WASI, "fd_pread"),
    (WASI, "fd_prestat_dir_name"),
    (WASI, "fd_prestat_get"),
    (WASI, "fd_pwrite"),
    (WASI, "fd_read"),
    (WASI, "fd_readdir"),
    (WASI, "fd_renumber"),
    (WASI, "fd_seek"),
    (WASI, "fd_sync"),
    (WASI, "fd_tell"),
    (WASI, "fd_write"),
    (WASI, "path_create_directory"),
    (WASI, "path_filestat_get"),
    (WASI, "path_filestat_set_times"),
    (WASI, "path_link"),
    (WASI, "path_open"),
    (WASI, "path_readlink"),
    (WASI, "path_remove_directory"),
    (WASI, "path_rename"),
    (WASI, "path_symlink"),
    (WASI, "path_unlink_file"),
    (WASI, "poll_oneoff"),
    (WASI, "proc_exit"),
    (WASI, "random_get"),
    (WASI, "sched_yield"),
];

/// Binds one function: its name, its parameters, and a body over the guest.
macro_rules! bind {
    ($linker:ident, $name:literal, |$guest:ident $(, $arg:ident: $ty:ty)*| $body:expr) => {
        $linker.func_wrap(WASI, $name, |mut caller: Caller<'_, Cell> $(, $arg: $ty)*| {
            host_call(&mut caller, |$guest: &mut Guest<'_>| $body)
        })?
    };
}

/// Binds a function that only ever answers an errno.
macro_rules! refuse {
    ($linker:ident, $errno:ident, $($name:literal($($ty:ty),*))*) => {
        $(
            $linker.func_wrap(WASI, $name, |mut caller: Caller<'_, Cell>, $(_: $ty),*| {
                host_call(&mut caller, |_| Err(Fault::Errno(errno::$errno)))
            })?;
        )*
    };
}

/// Adds WASI to what a module may import.
pub(crate) fn add_to(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    add_process(linker)?;
    add_descriptors(linker)?;
    add_paths(linker)?;
    add_refusals(linker)
}

fn add_process(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    bind!(linker, "args_get", |_guest, _list: u32, _text: u32| Ok(()));
    bind!(linker, "args_sizes_get", |guest, count: u32, size: u32| none(guest, count, size));
    bind!(linker, "environ_get", |_guest, _list: u32, _text: u32| Ok(()));
    bind!(linker, "environ_sizes_get", |guest, count: u32, size: u32| none(guest, count, size));
    linker.func_wrap(WASI, "proc_exit", |mut caller: Caller<'_, Cell>, code: u32| {
        host_call(&mut caller, |_| Err(Halt::Exit(code).into())).map(|_| ())
    })?;
    Ok(())
}

fn none(guest: &mut Guest<'_>, count: u32, size: u32) -> Result<(), Fault> {
    guest.write(count, &[0; 4])?;
    Ok(guest.write(size, &[0; 4])?)
}

fn add_descriptors(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    bind!(linker, "fd_close", |guest, fd: u32| files::close(guest, fd));
    bind!(linker, "fd_fdstat_get", |guest, fd: u32, at: u32| files::descriptor(guest, fd, at));
    bind!(linker, "fd_filestat_get", |guest, fd: u32, at: u32| files::status(guest, fd, at));
    bind!(linker, "fd_prestat_get", |guest, fd: u32, at: u32| files::prestat(guest, fd, at));
    bind!(linker, "fd_prestat_dir_name", |guest, fd: u32, at: u32, len: u32| {
        files::prestat_name(guest, fd, at, len)
    });
    bind!(linker, "fd_read", |guest, fd: u32, list: u32, count: u32, read: u32| {
        match fd {
            0 => stdio::read(guest, list, count, read),
            1 | 2 => Err(Fault::Errno(errno::BADF)),
            _ => files::read(guest, fd, list, count, read),
        }
    });
    bind!(linker, "fd_pread", |guest, fd: u32, list: u32, count: u32, from: u64, read: u32| {
        files::read_from(guest, fd, (list, count), from, read).map(|_| ())
    });
    bind!(linker, "fd_readdir", |guest, fd: u32, at: u32, len: u32, cookie: u64, used: u32| {
        files::list(guest, fd, (at, len), cookie, used)
    });
    bind!(linker, "fd_seek", |guest, fd: u32, offset: i64, whence: u32, at: u32| {
        files::seek(guest, fd, offset, whence, at)
    });
    bind!(linker, "fd_tell", |guest, fd: u32, at: u32| files::tell(guest, fd, at));
    bind!(linker, "fd_write", |guest, fd: u32, list: u32, count: u32, written: u32| {
        stdio::write(guest, fd, list, count, written)
    });
    // A hint, taken and forgotten.
    bind!(linker, "fd_advise", |guest, fd: u32, _from: u64, _len: u64, _advice: u32| {
        files::open_file(guest, fd).map(|_| ())
    });
    Ok(())
}

fn add_paths(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    linker.func_wrap(
        WASI,
        "path_open",
        |mut caller: Caller<'_, Cell>,
         fd: u32,
         _lookup: u32,
         path: u32,
         len: u32,
         flags: u32,
         rights: u64,
         _inheriting: u64,
         _fdflags: u32,
         opened: u32| {
            host_call(&mut caller, |guest| {
                files::open(guest, fd, (path, len), flags, rights, opened)
            })
        },
    )?;
    bind!(linker, "path_filestat_get", |guest,
                                        fd: u32,
                                        _lookup: u32,
                                        path: u32,
                                        len: u32,
                                        at: u32| {
        files::path_status(guest, fd, (path, len), at)
    });
    Ok(())
}

fn add_refusals(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    refuse!(linker, NOSYS,
        "clock_res_get"(u32, u32)
        "clock_time_get"(u32, u64, u32)
        "random_get"(u32, u32)
        "poll_oneoff"(u32, u32, u32, u32)
        "sched_yield"()
        "fd_fdstat_set_flags"(u32, u32)
        "fd_fdstat_set_rights"(u32, u64, u64)
        "fd_renumber"(u32, u32)
        "path_readlink"(u32, u32, u32, u32, u32, u32)
    );
    refuse!(linker, ROFS,
        "fd_allocate"(u32, u64, u64)
        "fd_datasync"(u32)
        "fd_filestat_set_size"(u32, u64)
        "fd_filestat_set_times"(u32, u64, u64, u32)
        "fd_pwrite"(u32, u32, u32, u64, u32)
        "fd_sync"(u32)
        "path_create_directory"(u32, u32, u32)
        "path_filestat_set_times"(u32, u32, u32, u32, u64, u64, u32)
        "path_link"(u32, u32, u32, u32, u32, u32, u32)
        "path_remove_directory"(u32, u32, u32)
        "path_rename"(u32, u32, u32, u32, u32, u32)
        "path_symlink"(u32, u32, u32, u32, u32)
        "path_unlink_file"(u32, u32, u32)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{compiling_engine, linker};
    use wasmtime::Store;

    #[test]
    fn exactly_the_listed_imports_are_bound() {
        let engine = compiling_engine().unwrap();
        let linker = linker(&engine).unwrap();
        let limiter = crate::limiter::Limiter::new(0);
        let stop = (std::time::Instant::now(), crate::StopFlag::default());
        let cell = Cell::new(Vec::new(), crate::DataDir::default(), 0, limiter, stop);
        let mut store = Store::new(&engine, cell);
        let mut bound: Vec<(String, String)> = linker
            .iter(&mut store)
            .map(|(module, name, _)| (module.to_owned(), name.to_owned()))
            .collect();
        bound.sort();
        let listed: Vec<(String, String)> =
            IMPORTS.iter().map(|(module, name)| ((*module).into(), (*name).into())).collect();
        assert_eq!(bound, listed);
    }
}
