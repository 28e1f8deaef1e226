//! The context of `wasi:` imports: clocks and randomness are real, output is printed or a command's, all else is empty.

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::{cli, random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtxBuilder, WasiCtxView, WasiView, p2};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::data::{ComponentSlot, ImportContext};
use super::http::{self, HttpContext};
use super::table::{most_handles, most_pollables};
use super::{files, pollables, sockets, taped};
use crate::abi::slots::State;
use crate::abi::wasi::context;
use crate::store::data::tail;

/// Defines the interfaces of WASI 0.2.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    pollables::link(linker)?;
    taped::link(linker)?;
    sockets::link(linker)?;
    files::link(linker)?;
    http::link(linker)?;
    taped::link_http(linker)
}

impl State {
    /// The context of the guest's imports, made for the first of them. Who asks for it is a later import than one whose result
    /// the guest waits for.
    pub(super) fn component_context(&mut self) -> &mut ImportContext {
        self.abi.component.has_result();
        let reel = if self.abi.component.context.is_none() { self.reel() } else { None };
        let State { abi, function, tail: lines, call, .. } = self;
        let (clock, guest) = (abi.clock, abi.guest.as_deref());
        let ComponentSlot { context, handle_tables, .. } = &mut abi.component;
        context.get_or_insert_with(|| {
            let builder = context::of_guest(function, tail(lines, call.as_ref()), guest, (clock, reel.as_ref()));
            made(builder, function.limits.memory_bytes, *handle_tables)
        })
    }
}

/// The context of imports whose `wasi:` ones `builder` begins, of a guest that may have so much memory, and has so many tables of handles.
pub(super) fn made(mut builder: WasiCtxBuilder, memory_bytes: u64, handle_tables: u64) -> Box<ImportContext> {
    let handles = most_handles(memory_bytes);
    let mut table = ResourceTable::new();
    table.set_max_capacity(handles);
    let wasi = builder.max_random_size(taped::MAX_RANDOM_BYTES).build();
    let (http, (snapshots, pollables)) = (HttpContext::of(handle_tables), Default::default());
    let most_pollables = most_pollables(memory_bytes);
    Box::new(ImportContext { wasi, http, snapshots, pollables, most_pollables, handles, table })
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ImportContext { wasi, table, .. } = self.component_context();
        WasiCtxView { ctx: wasi, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let made = self.component_context();
        WasiHttpCtxView { hooks: &mut made.http.hooks, table: &mut made.table, ctx: &mut made.http.ctx }
    }
}
