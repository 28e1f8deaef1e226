//! The engine of Tidepool: compiles WebAssembly modules and runs calls to them as futures that their caller drives.
//!
//! The crate knows no Erlang terms and owns no policy that lasts: what is deployed, and who may call it, is decided by
//! whoever holds its [`Runtime`]. A call goes like this:
//!
//! 1. [`Runtime::compile`] checks a module and compiles it into a [`Module`], of which a [`Function`] is made.
//! 2. [`Runtime::directory`] publishes it under its name.
//! 3. [`Function::start`] makes a [`Task`]: nothing has run yet.
//! 4. [`Task::drive`] runs the guest on the calling thread until it answers, wants the host, has used its time slice or
//!    waits for I/O, and says which in a [`Step`].
//! 5. The driver does what the step asks and drives again. Dropping the task at any time ends the guest.
//!
//! No thread waits for a guest, and no guest waits for a thread.

pub mod abi;
mod admission;
mod brevity;
mod cache;
pub mod compile;
mod compile_pool;
pub mod compiler;
pub mod console;
mod dense;
mod directory;
mod engine;
pub mod error;
mod function;
mod instance;
pub mod limits;
pub mod machine;
mod memory;
pub mod metrics;
mod on_time;
mod optimise;
mod pool;
mod port;
mod preempt;
mod reaper;
mod runtime;
mod shard;
pub mod snapshot;
mod stack;
mod state;
mod task;
mod ticker;
pub mod trap;
mod trim;
mod turns;

pub use cache::Complaint;
pub use compile::{CompileConfig, Module};
pub use compile_pool::CompilePool;
pub use compiler::CompileBounds;
pub use dense::DenseConfig;
pub use directory::{Directory, Published};
pub use engine::{EngineKind, Tier};
pub use error::{CallError, CompileError};
pub use function::{Function, FunctionConfig, Instances, Request};
pub use limits::{Limit, Limits};
pub use on_time::take_short_slices;
pub use optimise::Optimised;
pub use port::{HostReply, HostRequest};
pub use runtime::{EngineFigures, Runtime, RuntimeConfig, RuntimeError};
pub use task::{Cancel, Step, Task, Usage};
