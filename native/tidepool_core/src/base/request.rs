//! Requests: of a caller to a function, and of a guest to its host.

pub mod exchange;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use self::exchange::Exchange;
use crate::value::Value;

/// A name in a request. Most are short, and take no memory of their own.
pub type ShortName = SmallVec<[u8; 24]>;

/// What a caller asks of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the guest is asked to do.
    pub operation: ShortName,
    /// The input.
    pub payload: Payload,
    /// How many calls this one is nested in, itself included: 1 for a call from outside.
    pub depth: u32,
    /// The caller's own limit; the function's holds as well.
    pub timeout: Duration,
}

impl Request {
    /// That of a process, which is asked for nothing.
    pub(crate) fn none() -> Self {
        Request { operation: ShortName::new(), payload: Bytes::new().into(), depth: 1, timeout: Duration::MAX }
    }
}

/// What a caller passes to a function.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Bytes, which may be memory of the caller's: they are copied into the guest when that asks for them. A function of typed exports
    /// takes them for JSON: the array of its arguments.
    Bytes(Bytes),
    /// Arguments of a function of typed exports: a list of them, or a record by their names.
    Value(Arc<Value>),
    /// A request of HTTP, of a function that handles those.
    Exchange(Exchange),
}

impl Payload {
    /// What it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Value(value) => value.size(),
            // Its body comes in pieces, which are counted as they come.
            Payload::Exchange(_) => 0,
        }
    }

    /// The status of the response that it has got, if it is a request of HTTP that has one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Payload::Exchange(exchange) => exchange.status(),
            Payload::Bytes(_) | Payload::Value(_) => None,
        }
    }

    /// Its bytes, for functions that take nothing else.
    pub(crate) fn bytes(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match self {
            Payload::Bytes(bytes) => bytes,
            Payload::Value(_) | Payload::Exchange(_) => &NONE,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Payload::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Payload::Bytes(bytes.into())
    }
}

/// What calls of an ABI have for arguments, and so for results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Bytes.
    Bytes,
    /// Values, or their JSON.
    Values,
    /// A request of HTTP, which is responded to.
    Requests,
}

impl Takes {
    /// Why a call with this payload is none of the ABI; `None` when it may be one.
    pub(crate) fn refusal(self, payload: &Payload) -> Option<&'static str> {
        match (self, payload) {
            (Takes::Requests, Payload::Exchange(_))
            | (Takes::Bytes | Takes::Values, Payload::Bytes(_))
            | (Takes::Values, Payload::Value(_)) => None,
            (Takes::Requests, _) => Some("it handles requests of HTTP: ask for /call/NAME/... or one of its routes"),
            (Takes::Bytes, Payload::Value(_)) => Some("it takes bytes, and was given a list of arguments"),
            (_, Payload::Exchange(_)) => Some("it is called by GET or POST, and handles no other requests of HTTP"),
        }
    }
}

/// What a call returns.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Bytes: those of the guest, or the JSON of its result where the arguments were JSON.
    Bytes(Vec<u8>),
    /// The result of a typed export.
    Value(Box<Value>),
    /// Nothing: the response has gone where the [`Exchange`] says.
    Responded,
}

impl Reply {
    /// Its bytes; none of a value.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Reply::Bytes(bytes) => bytes,
            Reply::Value(_) | Reply::Responded => Vec::new(),
        }
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Reply {
    fn eq(&self, bytes: &T) -> bool {
        matches!(self, Reply::Bytes(own) if own == bytes.as_ref())
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Reply::Bytes(bytes)
    }
}

/// A guest's request to its host, by ABI.
#[derive(Debug, Clone, PartialEq)]
pub enum HostRequest {
    /// `__host_call` of waPC.
    Wapc(HostCall),
    /// A call of an import that the host's handlers answer.
    Import(ImportCall),
    /// A request of HTTP for another function: the answer, of which nothing matters but whether it is an error, says that it is
    /// served from now on.
    Exchange(ExchangeCall),
    /// What a process of a program asks.
    Process(ProcessRequest),
    /// What a process asks of a folder that the host answers for.
    File(FileRequest),
}

impl HostRequest {
    /// What its payload takes, in bytes; of requests of processes, which are counted where they are kept, nothing.
    pub(crate) fn size(&self) -> usize {
        match self {
            HostRequest::Wapc(call) => call.payload.len(),
            HostRequest::Import(call) => call.arguments.iter().map(Value::size).sum(),
            HostRequest::Exchange(_) | HostRequest::Process(_) | HostRequest::File(_) => 0,
        }
    }
}

/// What a process asks of a folder that the host answers for. The answer is bytes, or the name of an error as in POSIX, in
/// lower case: `enoent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// The host's name for the folder.
    pub folder: String,
    /// Names that lead from there to the file, with slashes between, without `.` and `..`; empty is the folder itself.
    pub path: String,
    /// What is to be done.
    pub operation: FileOperation,
}

/// What is to be done with a file, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOperation {
    /// What it is: a byte, 0 for a file and 1 for a folder, and two numbers of 8 bytes, the size and the time of the last change in
    /// ns since 1970. Little-endian, as all numbers here.
    Stat,
    /// What is in a folder: for each a byte as above, a length of 2 bytes, and the name.
    List,
    /// Bytes of a file, fewer at its end.
    Read {
        /// Where they begin.
        offset: u64,
        /// How many at most.
        length: u32,
    },
    /// Replace bytes of a file, or add to it. The answer is empty, as for all that follow.
    Write {
        /// Where they begin; `None` is the file's end.
        offset: Option<u64>,
        /// What is to be there.
        bytes: Vec<u8>,
    },
    /// Cut a file, or extend it by zeros.
    Resize {
        /// The bytes that it is to have.
        size: u64,
    },
    /// Make what there has not been.
    Create {
        /// A folder, and no file?
        folder: bool,
    },
    /// Remove a file, or an empty folder.
    Remove {
        /// A folder, and no file?
        folder: bool,
    },
    /// Give it another name, in place of what has that.
    Rename {
        /// The path in the same folder of the host's.
        to: String,
    },
}

impl FileOperation {
    /// The bytes that it sends along.
    pub(crate) fn size(&self) -> usize {
        if let FileOperation::Write { bytes, .. } = self { bytes.len() } else { 0 }
    }
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
    /// Put, claim, get or remove a name that holds on all nodes: 4 bytes of a code (`process::place::naming`), and 8 of the number
    /// of who has it, little-endian.
    Name(Box<Naming>),
    /// The process has left its stack and its instance, as it was asked to: it goes on in another one when this is answered.
    Frozen,
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
        use ProcessRequest::{Compile, Exists, Frozen, Name, Send, SpawnAway, Upgrade};
        !matches!(self, Send { .. } | Exists { .. } | SpawnAway(_) | Name(_) | Compile { .. } | Frozen | Upgrade)
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
    /// CPU time of all processes of its program on each node, in µs; `None` is without limit.
    pub total_cpu_us: Option<u64>,
    /// Whether it may compile modules, make configurations, start processes.
    pub may: [bool; 3],
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Names and values of its environment.
    pub env: Vec<(String, String)>,
}

/// What is asked of a name that holds on all nodes of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// What is to be done with it.
    pub operation: NameOperation,
    /// The name.
    pub name: String,
    /// The number of the process that is to have it; 0 when none is.
    pub id: u64,
}

/// What is to be done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOperation {
    /// Give it to a process, whoever has it.
    Put,
    /// Give it to a process, unless another has it.
    Claim,
    /// Say who has it.
    Get,
    /// Take it from whoever has it.
    Remove,
    /// Take it from this process, if it has it: that is dead.
    Free,
}

/// The driver of a process: a number that means something to whoever drives. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub std::num::NonZeroU64);

/// A host call of a waPC guest: its target and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCall {
    /// First part of the target's name.
    pub binding: ShortName,
    /// Second part of the target's name.
    pub namespace: ShortName,
    /// Third part of the target's name.
    pub operation: ShortName,
    /// What the guest sends along.
    pub payload: Vec<u8>,
}

/// A call of an import: its target and its arguments. It is answered with a value, by
/// [`Task::answer_value`](crate::Task::answer_value), or an error's text.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportCall {
    /// Of what kind the import is: first part of the target's name.
    pub binding: &'static str,
    /// Its module, or its interface.
    pub namespace: String,
    /// Its name in there.
    pub operation: String,
    /// What the guest passes.
    pub arguments: Vec<Value>,
}

/// A request of HTTP that a guest has for another function.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeCall {
    /// The function's name.
    pub function: String,
    /// What the call is named by where it is told of: the method and the path.
    pub operation: String,
    /// The request, and where the response goes.
    pub exchange: Exchange,
}

impl ExchangeCall {
    /// First two parts of the target that a grant has to name; the third is the function's name.
    pub const TARGET: [&str; 2] = ["tidepool", "function"];
}

/// What the host answers: bytes, or the text of an error.
pub type HostReply<B = Bytes> = Result<B, B>;
