//! A node that records, and what its recordings come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::Value;
use tidepool_core::{
    CompileConfig, Counts, Function, FunctionConfig, HostReply, HostRequest, How, Instances, Keeper, Limits, Module,
    RecordConfig, Recording, Reply, Step, Task,
};

use crate::settings;
use crate::support::signal::Signal;
use crate::support::{Node, Outcome, drive, limits, request};

/// Bytes of all recordings, and of those of a function.
pub(crate) const NODE_BYTES: u64 = 256 << 20;
pub(crate) const FUNCTION_BYTES: u64 = 64 << 20;

/// A folder that goes with whoever has it.
pub(crate) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tidepool-recordings-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Folder(std::env::temp_dir().join(name))
    }

    /// The files in it, the oldest first.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A node with recordings.
pub(crate) struct Studio {
    pub(crate) node: Node,
    pub(crate) folder: Folder,
}

/// All calls.
pub(crate) fn all() -> RecordConfig {
    RecordConfig { per_million: 1_000_000, redact: false, about: Bytes::from_static(b"about") }
}

/// Those that fail.
pub(crate) fn failures() -> RecordConfig {
    RecordConfig { per_million: 0, ..all() }
}

impl Studio {
    pub(crate) fn new() -> Self {
        Self::of(Node::small())
    }

    pub(crate) fn of(node: Node) -> Self {
        Self::with_room(node, FUNCTION_BYTES)
    }

    /// With room for so many bytes of a function's recordings.
    pub(crate) fn with_room(node: Node, function_bytes: u64) -> Self {
        let folder = Folder::new();
        node.runtime.open_recordings(&folder.0, NODE_BYTES, function_bytes).unwrap();
        Studio { node, folder }
    }

    pub(crate) fn keeper(&self) -> Arc<Keeper> {
        self.node.runtime.recordings().unwrap()
    }

    /// A module as of functions here.
    pub(crate) fn module(&self, wasm: &[u8], is_actor: bool) -> Arc<Module> {
        let config = CompileConfig {
            engine: self.node.engine,
            snapshot: (!is_actor).then(limits),
            actor: is_actor,
            ..CompileConfig::default()
        };
        Arc::new(self.node.runtime.compile(wasm, &config).unwrap())
    }

    /// A function whose calls are recorded.
    pub(crate) fn function(&self, wasm: &[u8], instances: Instances) -> Arc<Function> {
        function(&self.module(wasm, false), instances, limits(), Some(all()))
    }

    /// What became of the recordings, when all are written.
    pub(crate) fn counts(&self) -> Counts {
        let keeper = self.keeper();
        drop(keeper.written().list(None, 0));
        keeper.counts()
    }

    /// The newest recording, which is there.
    pub(crate) fn last(&self) -> Bytes {
        self.newest(1).remove(0)
    }

    /// The newest recordings, the newest first.
    pub(crate) fn newest(&self, most: usize) -> Vec<Bytes> {
        let keeper = self.keeper();
        let listed = keeper.written().list(None, most).unwrap();
        assert!(!listed.is_empty(), "nothing was recorded: {:?}", keeper.counts());
        listed.iter().map(|one| keeper.written().read(&one.id).unwrap().unwrap().into()).collect()
    }
}

pub(crate) fn function(
    module: &Arc<Module>,
    instances: Instances,
    limits: Limits,
    record: Option<RecordConfig>,
) -> Arc<Function> {
    Arc::new(module.function(FunctionConfig { instances, limits, record, ..settings::function_config() }).unwrap())
}

/// Drives a task to its end; `host` answers.
pub(crate) fn play(mut task: Task, mut host: impl FnMut(&mut Task, HostRequest)) -> Outcome {
    let signal = Arc::new(Signal::default());
    loop {
        match drive(&mut task, &signal) {
            Step::Done(outcome) => return outcome.map(Reply::into_bytes),
            Step::Host(request) => host(&mut task, request),
            Step::Yield => {}
            Step::Wait => {
                signal.wait(task.remaining());
            }
        }
    }
}

/// A call whose host answers with what it was asked.
pub(crate) fn call(function: &Arc<Function>, operation: &str, payload: &[u8]) -> Outcome {
    answered(function, operation, payload, |asked| Ok(asked.to_vec()))
}

pub(crate) fn answered(
    function: &Arc<Function>,
    operation: &str,
    payload: &[u8],
    mut answer: impl FnMut(&[u8]) -> HostReply<Vec<u8>>,
) -> Outcome {
    play(function.start(request(operation, payload)).unwrap(), |task, request| match request {
        HostRequest::Wapc(call) => task.answer(answer(&call.payload)),
        HostRequest::Import(_) => {
            let byte = answer(b"").ok().and_then(|bytes| bytes.first().copied()).unwrap_or(0);
            task.answer_value(tidepool_core::value::Value::Int(byte.into()));
        }
        other => panic!("nothing else is asked: {other:?}"),
    })
}

/// What a replay came to. There is no host.
pub(crate) fn replay(function: &Arc<Function>, recording: &Bytes, how: How) -> Value {
    let recording = Recording::read(recording.clone()).unwrap();
    let report = play(function.replay(recording, how), |_task, request| panic!("a replay asks nobody: {request:?}"));
    serde_json::from_slice(&report.unwrap()).unwrap()
}

pub(crate) fn verdict(function: &Arc<Function>, recording: &Bytes, how: How) -> String {
    replay(function, recording, how)["verdict"].as_str().unwrap().to_owned()
}

/// The recording comes to the same when it is replayed exactly.
pub(crate) fn assert_same(function: &Arc<Function>, recording: &Bytes) {
    let report = replay(function, recording, How::Exactly);
    assert_eq!(report["verdict"], "same", "{report:#}");
}

/// The mode of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
