//! Data of WASI in a guest's store.

use std::sync::Arc;

use wasmtime::TypedFunc;
use wasmtime_wasi::HostMonotonicClock;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::clock::Clock;
use super::files::open::Files;
use super::output::Output;
use crate::process::account::Account;
use crate::process::config::World;
use crate::process::files::folder::Preopen;
use crate::process::stdio::Stdio;

/// The slot of WASI.
#[derive(Default)]
pub(crate) struct WasiSlot {
    /// The context of imports, once the guest has called one. Boxed, for it is large and guests without it move the state, too.
    pub(super) context: Option<Box<WasiP1Ctx>>,
    /// What the context is to be made with, where that is not empty.
    pub(super) world: Option<Arc<World>>,
    /// The monotonic clock, where it does not begin with the context.
    pub(super) clock: Option<Clock>,
    /// Its own standard input and output; else there is no input, and what is written is printed.
    pub(super) stdio: Option<Arc<Stdio>>,
    /// Only programs have them.
    pub(super) streams: Option<Streams>,
    /// Its folders and what it has open in them; `None` when it has none. Boxed for the same reason as the context.
    pub(super) files: Option<Box<Files>>,
    /// `_start` of a program.
    pub(super) entry: Option<TypedFunc<(), ()>>,
}

impl WasiSlot {
    /// Says what the guest finds, before it calls an import.
    pub(crate) fn set_world(&mut self, world: &Arc<World>, stdio: Option<Arc<Stdio>>) {
        (self.world, self.stdio) = (Some(Arc::clone(world)), stdio);
    }

    /// Has the guest's monotonic clock begin with this, now.
    pub(crate) fn start_clock(&mut self, ns: u64) {
        self.clock = Some(Clock::starting_at(ns));
    }

    /// What that clock says, in ns.
    pub(crate) fn clock_ns(&self) -> u64 {
        self.clock.map_or(0, |clock| clock.now())
    }

    /// Says which folders the guest finds; what it opens in them counts in its program's account.
    pub(crate) fn set_folders(&mut self, folders: &[Preopen], account: &Arc<Account>) {
        self.files = (!folders.is_empty()).then(|| Box::new(Files::new(folders, account)));
    }
}

/// The output streams of a program, as its caller sees them.
pub(super) struct Streams {
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}
