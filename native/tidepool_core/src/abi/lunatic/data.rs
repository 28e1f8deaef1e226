//! Data of Lunatic's interface in a guest's store.

use super::handles::Handles;
use super::networking::data::Sockets;
use crate::abi::guest::{Guest, Module};
use crate::process::bounds::account::{FREE_BYTES, Share};
use crate::process::config::Config;
use crate::process::message::Message;

/// The slot of Lunatic's interface. Guests of other ABIs move the store's data, too, so it is a pointer.
#[derive(Default)]
pub(in crate::abi) struct LunaticSlot(Option<Box<Data>>);

impl LunaticSlot {
    /// The guest's data.
    pub(in crate::abi::lunatic) fn data(&mut self) -> &mut Data {
        self.0.get_or_insert_default()
    }
}

/// What a guest has. All of it dies with the guest.
#[derive(Default)]
pub(in crate::abi) struct Data {
    /// The message that it writes, or has received.
    pub(in crate::abi::lunatic) scratch: Option<Message>,
    /// Most bytes of that.
    pub(in crate::abi::lunatic) max_message: Option<usize>,
    pub(in crate::abi::lunatic) configs: Handles<Config, 1_000>,
    pub(in crate::abi::lunatic) modules: Handles<Module, 100>,
    pub(in crate::abi::lunatic) timers: Handles<Timer>,
    /// Nodes that a query found.
    pub(in crate::abi::lunatic) queries: Handles<Vec<u64>>,
    /// Texts of errors that the guest has not dropped.
    pub(in crate::abi::lunatic) errors: Handles<String, 10_000>,
    /// Sockets, and what names were resolved to.
    pub(in crate::abi::lunatic) sockets: Sockets,
    /// What the version before has left.
    inherited: Option<Message>,
    /// What the scratch takes of the program's account, and what configurations and an inheritance do.
    share: Share,
    other_bytes: usize,
}

impl Data {
    /// Makes the guest a process, to which the version before may have left something.
    pub(super) fn begin(&mut self, guest: &Guest, left: Option<Message>) {
        self.max_message = Some(guest.program.mailbox_bytes);
        self.share = Share::new(&guest.program.account, FREE_BYTES);
        if let Some(left) = left {
            self.other_bytes += left.bytes();
            self.inherited = Some(left);
            self.count();
        }
    }

    /// Makes that the scratch; `false` when there is none.
    pub(in crate::abi::lunatic) fn inherit(&mut self) -> bool {
        let Some(left) = self.inherited.take() else { return false };
        self.other_bytes -= left.bytes();
        self.scratch = Some(left);
        self.count();
        true
    }

    /// Counts a scratch of so many bytes; `false` when the program has no room for it.
    pub(in crate::abi::lunatic) fn hold_scratch(&mut self, bytes: usize) -> bool {
        self.share.hold(self.other_bytes.saturating_add(bytes))
    }

    /// Counts the scratch that there is.
    pub(in crate::abi::lunatic) fn count(&mut self) {
        let scratch = self.scratch.as_ref().map_or(0, Message::bytes);
        self.share.keep(self.other_bytes.saturating_add(scratch));
    }

    /// Counts configurations of `more` bytes, or `less`; `false` when the program has no room for them.
    pub(in crate::abi::lunatic) fn hold_configs(&mut self, more: usize, less: usize) -> bool {
        let (scratch, configs) = (self.scratch.as_ref().map_or(0, Message::bytes), self.other_bytes + more - less);
        let fits = self.share.hold(configs.saturating_add(scratch));
        if fits {
            self.other_bytes = configs;
        }
        fits
    }
}

/// A message that comes later: whose it is, and its number there.
#[derive(Debug, Clone, Copy)]
pub(in crate::abi::lunatic) struct Timer {
    /// The process that gets it, or that sends it when it is `later`.
    pub(in crate::abi::lunatic) process: u64,
    pub(in crate::abi::lunatic) number: u64,
    /// Is it for a process of the host's?
    pub(in crate::abi::lunatic) later: bool,
}
