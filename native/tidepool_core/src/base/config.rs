//! What a runtime, a module and a function are set up with.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::grants::Grants;
use super::host_grants::HostGrants;
use super::limits::Limits;

/// What a node gives its guests, all functions taken together.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Cap on live instances of the fast engine, idle warm ones included.
    pub max_instances: u32,
    /// Cap on calls that wait for an instance, for each engine.
    pub max_queue: usize,
    /// Largest memory limit that a function may be given, in bytes.
    pub max_memory_bytes: u64,
    /// Largest table limit that a function may be given, in elements.
    pub max_table_elements: u32,
    /// Stack of a guest, in bytes.
    pub stack_bytes: usize,
    /// Lines that each function may print in a second.
    pub console_lines_per_s: u32,
    /// Whether compiled guests are named in `/tmp/perf-PID.map`, where `perf` looks for them.
    pub perf_map: bool,
    /// Threads that compile, beside one for small modules.
    pub compile_threads: usize,
    /// The program `tidepool_compiler` of this build, whose processes compile; without one the runtime's threads do, and
    /// nothing bounds what that takes.
    pub compiler: Option<PathBuf>,
    /// What compiling a module may take.
    pub compile_bounds: CompileBounds,
    /// Size of a module from which the baseline tier serves it until its optimised code is ready, in bytes; 0 does
    /// without that tier.
    pub baseline_bytes: usize,
    /// The dense engine.
    pub dense: DenseConfig,
    /// Most linear memory of all live instances together, in bytes.
    pub max_total_memory_bytes: u64,
    /// Most bytes that the code of all functions takes together, before a version is refused.
    pub max_code_bytes: usize,
    /// Guests that compute at a time, of those that go on for longer than a slice.
    pub max_computing: usize,
    /// Sockets of guests.
    pub network: NetworkConfig,
    /// Files of guests.
    pub files: FilesConfig,
    /// What the functions of some namespaces may have together.
    pub namespaces: Vec<NamespaceConfig>,
}

/// The quotas of a namespace: what its functions may have together. What is `None` has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceConfig {
    /// What stands before the slash in names of its functions.
    pub name: String,
    /// Live instances on both engines, idle warm ones included.
    pub instances: Option<usize>,
    /// Calls that may wait for one of those.
    pub queue: usize,
    /// Linear memory of its live instances, in bytes.
    pub memory_bytes: Option<u64>,
    /// Calls that may begin within a second.
    pub calls_per_s: Option<u32>,
}

/// What a node keeps for one program of files in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesConfig {
    /// Files and folders.
    pub max_program_files: usize,
    /// Bytes of all of them.
    pub max_program_bytes: usize,
}

/// A folder that the programs of a function find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderConfig {
    /// The guest's name for it: an absolute path.
    pub path: String,
    /// The host's name for what answers; without one the folder is kept in memory, and goes with its program.
    pub host: Option<String>,
    /// Whether the guest may change what is in it.
    pub writable: bool,
}

/// What a node lets guests have of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// What may be granted: whatever its deploy says, a function has no more.
    pub grants: Grants,
    /// Sockets of all programs together.
    pub max_sockets: usize,
    /// Sockets of one program.
    pub max_program_sockets: usize,
    /// Who says when they are ready.
    pub io: IoBackend,
}

/// Who says when sockets are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoBackend {
    /// The I/O runtime, by `epoll`.
    Tokio,
    /// A ring of `io_uring`, where the kernel gives one; else as [`IoBackend::Tokio`].
    Uring,
}

/// What the dense engine gives its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseConfig {
    /// Cap on live instances, idle warm ones included; `None` is as many as the machine has room for.
    pub max_instances: Option<u32>,
    /// Largest memory limit that a function may be given, in bytes. Each instance has this much address space.
    pub max_memory_bytes: u64,
}

/// What each compiler that a module passes may take: a base, and a part of it more for each MiB of the module.
///
/// Compilers are not linear in what they read, and these bounds are: they cut what was made to be slow, and let pass
/// what is merely large. `cargo bench --bench worst` has the figures that they were drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileBounds {
    /// CPU time, and as much again for each MiB.
    pub time: Duration,
    /// Memory in bytes, and an eighth of it again for each MiB.
    pub memory_bytes: u64,
}

impl CompileBounds {
    pub(crate) fn times(self, factor: u32) -> Self {
        CompileBounds {
            time: self.time.saturating_mul(factor),
            memory_bytes: self.memory_bytes.saturating_mul(u64::from(factor)),
        }
    }

    pub(crate) fn of(&self, module_bytes: usize) -> (Duration, u64) {
        let kib = u32::try_from(module_bytes >> 10).unwrap_or(u32::MAX);
        let time = self.time.saturating_add(self.time.saturating_mul(kib) / (1 << 10));
        let memory = self.memory_bytes.saturating_add((self.memory_bytes >> 13).saturating_mul(u64::from(kib)));
        (time, memory)
    }
}

/// Which engine a function runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Fastest calls, for thousands of live instances.
    #[default]
    Fast,
    /// Very many live instances, each access to memory checked.
    Dense,
}

impl EngineKind {
    /// The name that users see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Fast => "fast",
            EngineKind::Dense => "dense",
        }
    }
}

/// Which compiler's code a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Winch's: compiled in a fraction of the time, and slower.
    Baseline,
    /// Cranelift's.
    Optimised,
}

/// How a module is compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompileConfig {
    /// The namespace of its function; empty of one that has none.
    pub namespace: String,
    /// The engine that its functions run on.
    pub engine: EngineKind,
    /// Run start functions now, within these limits, so that instances begin where they ended. Without, each instance
    /// runs them itself.
    pub snapshot: Option<Limits>,
    /// The module was compiled and deployed before: it may take some times what a new one may, so that a busier or slower
    /// machine does not refuse what was promised.
    pub was_deployed: bool,
    /// A guest has brought it: its code is not kept in the cache, from which it could push what was deployed.
    pub brought: bool,
    /// The optimising compiler takes it at once, however large it is: for who waits for the code that serves most calls.
    pub optimised: bool,
    /// Its instances are actors: they can be told from their images, and woken with them. What an image does not hold is refused, and
    /// there is no snapshot: start functions run once in an actor's life.
    pub actor: bool,
    /// Its processes can leave their stack while they wait, and go on in another instance: what waits, and what calls that, has twice the
    /// code. What an image does not hold is refused, and there is no snapshot.
    pub movable: bool,
    /// An operation whose result is no number has one result, on all processors: the canonical one. Costs up to 1.8 times the time of
    /// what computes with such numbers, and the baseline tier does not serve it.
    pub deterministic: bool,
    /// It is compiled for a debugger: slower, and with all that a guest has in its stack kept there.
    pub debugged: bool,
    /// The ABI by which it is called, where it speaks several; `None` is the first of those that the runtime has.
    pub abi: Option<String>,
}

/// Where the instances of a function come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// A new one for each call: nothing leaks from one call to the next.
    Fresh,
    /// Kept between calls, up to `max_idle` idle ones; memory, globals and tables live on.
    Warm {
        /// Idle instances that are kept.
        max_idle: usize,
    },
}

/// How a module is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionConfig {
    /// The name, as callers, logs and metrics use it.
    pub name: String,
    /// The version, for logs.
    pub version: u64,
    /// Where instances come from.
    pub instances: Instances,
    /// What instances and calls may use.
    pub limits: Limits,
    /// What its guests may ask of the host.
    pub host: HostGrants,
    /// What its programs may do with the network.
    pub grants: Grants,
    /// The folders that its programs find.
    pub folders: Vec<FolderConfig>,
    /// Texts that its guests may ask for by name.
    pub config: HashMap<Box<str>, Box<str>>,
    /// Buckets of keys and values that its guests may open.
    pub keyvalue: Vec<Arc<str>>,
    /// Whether a call that failed is kept with the beginning of its payload.
    pub keep_payloads: bool,
    /// Which calls are recorded, if any are.
    pub record: Option<RecordConfig>,
    /// Bytes of texts that whoever deploys it keeps of it besides, as long as it is there: they count with its code.
    pub kept_bytes: usize,
}

impl FunctionConfig {
    /// Bytes of the texts that are kept with the function, here and by whoever deploys it.
    pub(crate) fn text_bytes(&self) -> usize {
        let config = self.config.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        let folders = self.folders.iter().map(|folder| folder.path.len() + folder.host.as_ref().map_or(0, String::len));
        let keyvalue = self.keyvalue.iter().map(|bucket| bucket.len());
        let about = self.record.as_ref().map_or(0, |record| record.about.len());
        let others = [self.host.bytes(), self.grants.bytes(), about, self.kept_bytes];
        config.chain(folders).chain(keyvalue).chain(others).fold(0, usize::saturating_add)
    }
}

/// Which calls of a function are recorded, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordConfig {
    /// Of a million calls that succeed, so many. Those that fail are recorded in any case.
    pub per_million: u32,
    /// Whether payloads and answers are left out, but for lengths and digests: such a recording says what happened, and can't be
    /// replayed.
    pub redact: bool,
    /// What whoever replays has to know of the function, as its owner writes it.
    pub about: Bytes,
}
