//! Data of Lunatic's interface in a guest's store.

use std::any::Any;
use std::sync::Arc;

use wasmtime::Val;

use super::handles::Handles;
use super::networking::data::Sockets;
use crate::process::config::Config;
use crate::process::handle::Process;
use crate::process::message::Message;
use crate::process::program::Program;

/// The slot of Lunatic's interface. Guests of other ABIs move the store's data, too, so it is a pointer.
#[derive(Default)]
pub(crate) struct LunaticSlot(Option<Box<Data>>);

impl LunaticSlot {
    /// The guest's data.
    pub(crate) fn data(&mut self) -> &mut Data {
        self.0.get_or_insert_default()
    }

    /// The guest as a process, if it is one.
    pub(crate) fn guest(&self) -> Option<&Arc<Guest>> {
        self.0.as_ref()?.guest.as_ref()
    }
}

/// What a guest has. All of it dies with the guest.
#[derive(Default)]
pub(crate) struct Data {
    /// `None` for a call, which is no process.
    pub(crate) guest: Option<Arc<Guest>>,
    /// What it is to run, until it does.
    pub(crate) entry: Option<Entry>,
    /// The message that it writes, or has received.
    pub(in crate::abi::lunatic) scratch: Option<Message>,
    pub(in crate::abi::lunatic) configs: Handles<Config>,
    pub(in crate::abi::lunatic) modules: Handles<Module>,
    /// Whose they are, and the numbers that they have there.
    pub(in crate::abi::lunatic) timers: Handles<(u64, u64)>,
    /// Nodes that a query found.
    pub(in crate::abi::lunatic) queries: Handles<Vec<u64>>,
    /// Texts of errors that the guest has not dropped.
    pub(in crate::abi::lunatic) errors: Handles<String>,
    /// Sockets, and what names were resolved to.
    pub(in crate::abi::lunatic) sockets: Sockets,
}

/// A guest as a process of its program.
pub(crate) struct Guest {
    pub(crate) program: Arc<Program>,
    pub(crate) process: Arc<Process>,
    pub(crate) config: Arc<Config>,
}

/// A module that processes may be made of, as those know it who make them.
pub(crate) type Module = Arc<dyn Any + Send + Sync>;

/// What a process runs.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// An export.
    pub(crate) name: String,
    pub(crate) params: Vec<Val>,
}

/// What a process is to be made of.
pub(crate) struct Plan {
    pub(crate) params: Vec<Val>,
    pub(crate) config: Arc<Config>,
    /// `None` is its maker's.
    pub(crate) module: Option<Module>,
}
