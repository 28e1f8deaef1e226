//! Requests: of a caller to a function, and of a guest to its host.

use std::time::Duration;

use bytes::Bytes;

/// What a caller asks of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the guest is asked to do.
    pub operation: Vec<u8>,
    /// The input, which may be memory of the caller's: it is copied into the guest when that asks for it.
    pub payload: Bytes,
    /// How many calls this one is nested in, itself included: 1 for a call from outside.
    pub depth: u32,
    /// The caller's own limit; the function's holds as well.
    pub timeout: Duration,
}

/// A guest's request to its host, by ABI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRequest {
    /// `__host_call` of waPC.
    Wapc(HostCall),
    /// What a process of a program asks.
    Process(ProcessRequest),
}

/// What a process asks of its driver: what only those can do who know the processes that drive the others. Processes are
/// named by their [`Address`], or by their number where they have none: those are gone, or have never been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessRequest {
    /// Start the process that waits for its driver under this number, linked when there is a tag.
    Spawn {
        /// Its number in the program.
        id: u64,
        /// What the parent is to be told when it dies.
        link: Option<i64>,
    },
    /// Link both, each with this tag.
    Link {
        /// The other one.
        to: Peer,
        /// What a death is told with.
        tag: i64,
    },
    /// Remove the link.
    Unlink {
        /// The other one.
        to: Peer,
    },
    /// Whether the process dies with those that it is linked to, or is told.
    DieWhenLinkDies(bool),
    /// Tell of its end, however it ends.
    Monitor {
        /// The other one.
        to: Peer,
    },
    /// Don't tell of its end.
    StopMonitoring {
        /// The other one.
        to: Peer,
    },
    /// End it.
    Kill {
        /// The other one, which may be the process itself.
        to: Peer,
    },
    /// Pass bytes to a process that is not a guest.
    Send {
        /// Who gets them.
        to: Peer,
        /// The message's tag; 0 is none.
        tag: i64,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Whether a process of another node lives: 1 or 0.
    Exists {
        /// The other one.
        to: Peer,
    },
    /// Start a process on another node: 8 bytes of its number, little-endian; or why not, as
    /// 4 bytes of the code that the guest gets, and a text.
    SpawnAway(Box<Away>),
    /// Have the program's first process go on as the newest version of its function.
    Upgrade,
    /// Compile a module, and give the process a function of it.
    Compile {
        /// The module.
        wasm: Vec<u8>,
    },
}

impl ProcessRequest {
    /// Is it about other processes alone? Those that a process has made don't run meanwhile.
    pub(crate) fn is_control(&self) -> bool {
        use ProcessRequest::{Compile, Exists, Send, SpawnAway, Upgrade};
        !matches!(self, Send { .. } | Exists { .. } | SpawnAway(_) | Compile { .. } | Upgrade)
    }
}

/// Another process, as requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its number in the program.
    pub id: u64,
    /// What drives it; `None` when there is no such process, or no more.
    pub address: Option<Address>,
    /// Is it a process of the program, and not one of the host's?
    pub is_guest: bool,
    /// Is it on another node, by its number?
    pub is_away: bool,
}

/// A process that is to be started on another node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Away {
    /// The node's number.
    pub node: u64,
    /// The export that it runs, and its parameters as guests give them: a type and 16 bytes each.
    pub entry: String,
    /// See above.
    pub params: Vec<u8>,
    /// Largest memory, in bytes.
    pub max_memory: u64,
    /// CPU time in units of fuel; `None` is without limit.
    pub max_fuel: Option<u64>,
    /// Whether it may compile modules, make configurations, start processes.
    pub may: [bool; 3],
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Names and values of its environment.
    pub env: Vec<(String, String)>,
}

/// The driver of a process: a number that means something to whoever drives. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub std::num::NonZeroU64);

/// A host call of a waPC guest: its target and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCall {
    /// First part of the target's name.
    pub binding: Vec<u8>,
    /// Second part of the target's name.
    pub namespace: Vec<u8>,
    /// Third part of the target's name.
    pub operation: Vec<u8>,
    /// What the guest sends along.
    pub payload: Vec<u8>,
}

/// What the host answers: bytes, or the text of an error.
pub type HostReply<B = Bytes> = Result<B, B>;
