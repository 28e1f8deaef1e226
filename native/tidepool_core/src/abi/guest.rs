//! A guest as a process, whatever its ABI, and what one is made of.

use std::any::Any;
use std::sync::Arc;

use wasmtime::{V128, Val};

use crate::process::bounds::account::Share;
use crate::process::bounds::cpu::CpuBounds;
use crate::process::config::Config;
use crate::process::handle::Process;
use crate::process::program::Program;

/// The export that a program's first process runs, unless another is named.
pub(crate) const ENTRY: &str = "_start";
/// Most parameters of an entry.
const MAX_PARAMS: usize = 1_000;
/// Bytes of a parameter: its type, and 16 of its value.
pub(crate) const PARAM_BYTES: usize = 17;

/// A guest as a process of its program.
pub(crate) struct Guest {
    pub(crate) program: Arc<Program>,
    pub(crate) process: Arc<Process>,
    pub(crate) config: Arc<Config>,
    /// Is it of another module than the program's?
    pub(crate) is_foreign: bool,
    /// The module that it is of, when one of its program has brought that.
    pub(crate) brought: Option<Module>,
}

impl Guest {
    /// What it may compute.
    pub(crate) fn cpu(&self) -> CpuBounds {
        CpuBounds::new(self.config.cpu_time_us(), &self.program.total_cpu)
    }
}

/// A module that a program's processes have brought and may be made of. Its code is of the program's account for as long as anybody
/// has it.
#[derive(Clone)]
pub(crate) struct Module {
    /// As those know it who make processes.
    pub(crate) target: Arc<dyn Any + Send + Sync>,
    _share: Arc<Share>,
}

impl Module {
    /// A module whose code was counted as `share`.
    pub(crate) fn new(target: Arc<dyn Any + Send + Sync>, share: Share) -> Self {
        Module { target, _share: Arc::new(share) }
    }
}

/// What a process is to be made of.
pub(crate) struct Plan {
    pub(crate) params: Vec<Val>,
    pub(crate) config: Arc<Config>,
    /// `None` is its maker's.
    pub(crate) module: Option<Module>,
}

/// Whether `len` bytes may be parameters.
pub(crate) fn fits_params(len: usize) -> bool {
    len <= MAX_PARAMS * PARAM_BYTES && len.is_multiple_of(PARAM_BYTES)
}

/// The parameters of an entry, from the bytes by which guests and nodes give them; `None` when they are none.
pub(crate) fn param_values(bytes: &[u8]) -> Option<Vec<Val>> {
    if fits_params(bytes.len()) { bytes.chunks_exact(PARAM_BYTES).map(param).collect() } else { None }
}

fn param(bytes: &[u8]) -> Option<Val> {
    let (ty, value) = bytes.split_first()?;
    Some(match ty {
        0x7f => Val::I32(i32::from_le_bytes(*value.first_chunk()?)),
        0x7e => Val::I64(i64::from_le_bytes(*value.first_chunk()?)),
        0x7b => Val::V128(V128::from(u128::from_le_bytes(*value.first_chunk()?))),
        _ => return None,
    })
}
