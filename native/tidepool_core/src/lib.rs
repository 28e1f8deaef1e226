//! The engine of Tidepool: compiles WebAssembly modules and runs calls to them as futures that their caller drives.
//!
//! The crate knows no Erlang terms and owns no policy that lasts: what is deployed, and who may call it, is decided by
//! the owner of its [`Runtime`]. A call goes like this:
//!
//! 1. [`Runtime::compile`] checks a module and compiles it into a [`Module`], of which a [`Function`] is made.
//! 2. [`Runtime::directory`] publishes it under its name.
//! 3. [`Function::start`] makes a [`Task`]: nothing has run yet.
//! 4. [`Task::drive`] runs the guest on the calling thread until it answers, wants the host, has used its time slice or
//!    waits for I/O, and says which in a [`Step`].
//! 5. The driver does what the step asks and drives again. Dropping the task at any time ends the guest.
//!
//! No thread waits for a guest, and no guest waits for a thread.

mod abi;
mod base;
mod call;
mod compiler;
mod debugger;
mod dense;
mod engine;
mod function;
mod image;
mod instance;
mod metrics;
mod module;
mod net;
mod os;
mod process;
mod recording;
mod rewrite;
mod runtime;
mod slice;
mod snapshot;
mod store;
pub mod value;

#[cfg(test)]
extern crate self as tidepool_core;
#[cfg(test)]
#[path = "../tests/settings/mod.rs"]
mod settings;

pub use abi::imports::Import;
pub use base::config::{
    CompileBounds, CompileConfig, DenseConfig, EngineKind, FilesConfig, FolderConfig, FunctionConfig, Instances,
    IoBackend, NamespaceConfig, NetworkConfig, RecordConfig, RuntimeConfig, Tier,
};
pub use base::error::{CallError, CompileError, Detail, Details};
pub use base::grants::Grants;
pub use base::host_grants::HostGrants;
pub use base::limits::{Limit, Limits, Quota};
pub use base::request::exchange;
pub use base::request::{
    Address, Away, ExchangeCall, FileOperation, FileRequest, HostCall, HostReply, HostRequest, ImportCall,
    NameOperation, Naming, Payload, Peer, ProcessRequest, Reply, Request, ShortName,
};
pub use base::{console, error, limits, origin, source_lines, trap};
pub use call::arrival::Part;
pub use call::drive::Step;
pub use call::member::{ProcessInfo, ProcessRef, Signal};
pub use call::poll::Kept;
pub use call::process::ProcessOptions;
pub use call::task::{Cancel, Task, Usage};
pub use compiler::{Asked as CompileAsked, serve as serve_compiler};
pub use debugger::{DebugError, Debugger, Told};
pub use function::directory::{Directory, Published};
pub use function::handle::{Function, ImageRoom};
pub use function::instance::OwnedInstance;
pub use function::module::Module;
pub use function::sites::Sites;
pub use instance::inspect::{Export, ExportKind};
pub use instance::seen::Imaged;
pub use metrics::failure::{FAILURES, Failure, PAYLOAD_BYTES};
pub use metrics::figures::{CallFigures, FunctionFigures, LATENCY_BOUNDS_NS, reasons};
pub use metrics::recent::{Found, Recent, Recorded};
pub use metrics::text::{EngineFigures, Gauge, GaugeByLabel, SharedFigures};
pub use module::Complaint;
pub use module::compiled::CompiledModule;
pub use os::buffers;
pub use os::compile_pool::CompilePool;
pub use os::machine;
pub use os::sched_attr::request_short_timeslice;
pub use process::delivery::Room;
pub use process::metrics::Figure;
pub use process::place::naming::Named;
pub use process::program::Output;
pub use process::stdio::{Stdio, Terminal};
pub use process::ties::Ties;
pub use process::upgrade::UpgradeAnswer;
pub use recording::{Counts, Damaged, Files, Head, How, Keeper, Listed, Recording, Summary};
pub use rewrite::strip::stripped;
pub use runtime::handle::{Runtime, RuntimeError};
pub use runtime::tier_up::Optimised;
pub use slice::run_queue;
pub use store::frames::Stays;
