//! Start functions that run once for all instances, before there is one: what they are answered, and what is noted of them.
//!
//! A start function may ask for what is the same at every start. Randomness and the wall clock come from the [`Rehearsal`], so
//! that two runs with other answers show what depends on them.

use rand::Rng;
use rand::rngs::StdRng;
use wasmtime::{Caller, Memory, ResourceLimiter};
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::base::console::Stream;
use crate::base::origin::Refusal;
use crate::base::printed::Printed;

/// Gets the guest's memory whenever a clock is read, until it says that it has done what it is there for.
pub(crate) type AtClock = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// Data of the store of such a run.
pub(crate) struct Rehearsal {
    pub(crate) bounds: Box<dyn ResourceLimiter + Send>,
    /// The first answer that is random.
    pub(crate) first: StdRng,
    /// All later ones.
    pub(crate) later: StdRng,
    /// The wall clock, in ns since 1970.
    pub(crate) wall_ns: u64,
    pub(crate) random_requests: usize,
    pub(crate) asked_wall: bool,
    pub(crate) at_clock: Option<AtClock>,
    pub(crate) printed: Printed,
    /// The context of imports that are served as in instances.
    pub(in crate::abi) wasi: Option<Box<WasiP1Ctx>>,
}

impl Rehearsal {
    pub(crate) fn new(bounds: Box<dyn ResourceLimiter + Send>, first: StdRng, later: StdRng, wall_ns: u64) -> Self {
        Rehearsal {
            bounds,
            first,
            later,
            wall_ns,
            random_requests: 0,
            asked_wall: false,
            at_clock: None,
            printed: Printed::default(),
            wasi: None,
        }
    }

    /// Random bytes.
    pub(super) fn random(&mut self, len: usize) -> Vec<u8> {
        self.random_requests += 1;
        let mut bytes = vec![0; len];
        let random = if self.random_requests == 1 { &mut self.first } else { &mut self.later };
        random.fill_bytes(&mut bytes);
        bytes
    }

    /// What the wall clock says, in ns since 1970.
    pub(super) fn wall(&mut self) -> u64 {
        self.asked_wall = true;
        self.wall_ns
    }

    /// Keeps what is printed.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn print(&mut self, stream: Stream, piece: &[u8]) -> wasmtime::Result<()> {
        Ok(self.printed.push(stream, piece).map_err(|message| Refusal::Failed { message })?)
    }
}

/// Has `at_clock` look at the memory, if there is one.
pub(super) fn clock_is_read(caller: &mut Caller<'_, Rehearsal>) {
    let Some(memory) = memory(caller) else { return };
    let (bytes, rehearsal) = memory.data_and_store_mut(&mut *caller);
    if rehearsal.at_clock.as_mut().is_some_and(|look| look(bytes)) {
        rehearsal.at_clock = None;
    }
}

/// The guest's memory.
pub(super) fn memory(caller: &mut Caller<'_, Rehearsal>) -> Option<Memory> {
    caller.get_export("memory").and_then(wasmtime::Extern::into_memory)
}
