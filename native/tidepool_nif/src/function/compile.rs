//! Compiling: begun by a process, done on the core's compile threads, and answered by a message.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustler::env::SavedTerm;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, ResourceArc, Term};
use tidepool_core::origin::Start;
use tidepool_core::{CompileConfig, CompileError, Module, stripped};

use crate::function::deploy;
use crate::function::deploy::ModuleHandle;
use crate::function::request::ProcessHandle;
use crate::node::handle::Node;
use crate::terms::{atoms, decode, encode};

/// The ABIs that this host speaks.
#[rustler::nif]
fn abis<'a>(env: Env<'a>, node: &'a Node) -> Vec<Atom> {
    node.runtime.abi_names().into_iter().map(|abi| atoms::named(env, abi)).collect()
}

/// `{abi, engine}`: the ABI that a module speaks, and the engine that suits it where its deploy names none; or `nil` when it speaks none.
#[rustler::nif(schedule = "DirtyCpu")]
fn suited<'a>(env: Env<'a>, node: &'a Node, wasm: Binary<'a>) -> Option<(Atom, Atom)> {
    let (abi, engine) = node.runtime.suited(wasm.as_slice())?;
    Some((atoms::named(env, abi), encode::engine(engine)))
}

/// A module without its debug data; what is no module as it is.
#[rustler::nif(schedule = "DirtyCpu")]
fn strip_module<'a>(env: Env<'a>, wasm: Binary<'a>) -> Term<'a> {
    encode::copy(env, &stripped(wasm.as_slice()))
}

/// Begins to compile a module. The caller gets `{:tidepool_compiled, id, outcome, cpu_us}` with the id that this returns, an
/// outcome of `{:ok, module, facts}`, with a map of what the module says of itself, or `{:error, reason, message, details}`, and the CPU
/// time that it took. A caller
/// that is dead when its turn comes is passed over, and compiling ends for one that dies meanwhile.
#[rustler::nif]
fn compile<'a>(env: Env<'a>, node: ResourceArc<Node>, wasm: Binary<'a>, config: Term<'a>) -> NifResult<u64> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let brought: Option<&ProcessHandle> = config.map_get(atoms::brought()).map_or(Ok(None), |it| it.decode())?;
    let brought = brought.map(|process| process.0.clone());
    let config = CompileConfig { brought: brought.is_some(), ..decode::compile_config(config)? };
    let owner = config.namespace.clone();
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let bytes = wasm.len();
    let wasm = Kept::new(env, wasm);
    let answer = Answer { owner: env.pid(), id, sent: false };
    let (runtime, is_brought) = (Arc::clone(&node.runtime), brought.is_some());
    let job = move || {
        if answer.is_wanted() {
            let compile = || wasm.with(|wasm| node.runtime.compile_counted(wasm, &config, &|| answer.is_wanted()));
            let (outcome, spent) = match &brought {
                Some(process) => process.compiling(compile),
                None => compile(),
            };
            let outcome = outcome.map(Arc::new);
            let module = outcome.clone();
            answer.send(outcome, spent);
            // After the answer: the deployer does not wait for the disk.
            if let Ok(module) = module {
                module.keep();
            }
        }
    };
    if is_brought {
        runtime.compile_pool().submit_brought(&owner, bytes, job)
    } else {
        runtime.compile_pool().submit(&owner, bytes, job)
    }
    Ok(id)
}

/// Keeps compiled code in a folder, and takes it from there. `:ok` or `{:error, message}`. The caller gets
/// `{:tidepool_cache, message}` for each file that is damaged, and once when the disk fails.
#[rustler::nif(schedule = "DirtyIo")]
fn open_cache(env: Env<'_>, node: ResourceArc<Node>, folder: String, max_bytes: u64) -> Term<'_> {
    let owner = env.pid();
    // Complaints come while compiling or storing, on threads that are not the VM's.
    let complain = move |message: String| {
        let _ = OwnedEnv::new().send_and_clear(&owner, |env| (atoms::tidepool_cache(), message).encode(env));
    };
    match node.runtime.open_cache(Path::new(&folder), max_bytes, Box::new(complain)) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

/// A binary that outlives the call it came with. Large ones are shared with the VM, not copied.
struct Kept {
    env: OwnedEnv,
    term: SavedTerm,
}

impl Kept {
    fn new<'a>(env: Env<'a>, binary: Binary<'a>) -> Self {
        let kept = OwnedEnv::new();
        let term = kept.save(binary.to_term(env));
        Kept { env: kept, term }
    }

    fn with<T>(&self, work: impl FnOnce(&[u8]) -> T) -> T {
        self.env.run(|env| {
            // It was a binary when it was saved.
            let binary: Option<Binary<'_>> = self.term.load(env).decode().ok();
            work(binary.as_ref().map_or(&[], Binary::as_slice))
        })
    }
}

/// The way to answer one process once. Dropped without an answer it says that there will be none.
struct Answer {
    owner: LocalPid,
    id: u64,
    sent: bool,
}

impl Answer {
    fn is_wanted(&self) -> bool {
        let env = std::ptr::null_mut();
        // SAFETY: without an environment this may be called on threads alone that are not the VM's, as those that
        // compile are; the id of the process comes from the VM and is read only.
        unsafe { rustler::sys::enif_is_process_alive(env, self.owner.as_c_arg()) != 0 }
    }

    fn send(mut self, outcome: Result<Arc<Module>, CompileError>, spent: Duration) {
        self.sent = true;
        self.message(spent, |env| match outcome {
            Ok(module) => compiled(env, module),
            Err(error) => encode::compile_error(env, &error),
        });
    }

    fn message(&self, spent: Duration, outcome: impl FnOnce(Env<'_>) -> Term<'_>) {
        // A dead owner needs no message.
        let _ = OwnedEnv::new().send_and_clear(&self.owner, |env| {
            (atoms::tidepool_compiled(), self.id, outcome(env), encode::micros(spent)).encode(env)
        });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.sent {
            let error = CompileError::Internal { message: "the compiler gave up".into() };
            self.message(Duration::ZERO, |env| encode::compile_error(env, &error));
        }
    }
}

/// So many of a module's imports are told, of 100,000 and more: who lists functions has a copy of what is told of each.
const IMPORTS: usize = 1_000;

/// A target, as handlers are registered for it.
fn asked([binding, namespace, operation]: &[String; 3]) -> (&str, &str, &str) {
    (binding, namespace, operation)
}

/// `{:ok, module, facts}`.
fn compiled(env: Env<'_>, module: Arc<Module>) -> Term<'_> {
    let interface = module.interface().map(|json| encode::copy(env, json.as_bytes()));
    // Names of ABIs are the host's own, and few.
    let abi = Atom::from_str(env, module.abi()).map_or_else(|_| module.abi().encode(env), |abi| abi.encode(env));
    let (start, reason) = match module.start() {
        Start::Nothing => (atoms::nothing(), None),
        Start::Snapshot => (atoms::snapshot(), None),
        Start::Initialiser(refusal) => (atoms::initialiser(), Some(refusal.to_string())),
    };
    let facts = encode::map(
        env,
        vec![
            (atoms::abi(), abi),
            (atoms::imports(), module.import_names(IMPORTS).encode(env)),
            (atoms::imports_omitted(), module.imports().len().saturating_sub(IMPORTS).encode(env)),
            (atoms::asks(), module.asks().iter().map(asked).collect::<Vec<_>>().encode(env)),
            (atoms::interface(), interface.encode(env)),
            (atoms::start(), start.encode(env)),
            (atoms::start_reason(), reason.encode(env)),
            (atoms::tier(), deploy::tier_atom(module.tier()).encode(env)),
            (atoms::compile_us(), encode::micros(module.compile_time()).encode(env)),
            (atoms::cached(), module.from_cache().encode(env)),
        ],
    );
    (atoms::ok(), ResourceArc::new(ModuleHandle(module)), facts).encode(env)
}
