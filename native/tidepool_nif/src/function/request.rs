//! What processes ask of their drivers, as terms.

use rustler::{Atom, Encoder, Env, Resource, ResourceArc, Term};
use tidepool_core::{
    Address, Away, FileOperation, FileRequest, HostRequest, NameOperation, Peer, ProcessRef, ProcessRequest, Step, Task,
};

use crate::terms::{atoms, encode, pid};

/// A process of a program, for whoever does not drive it. The last term of one that nobody drives takes it along.
pub(crate) struct ProcessHandle(pub(crate) ProcessRef);

#[rustler::resource_impl]
impl Resource for ProcessHandle {}

impl Drop for ProcessHandle {
    fn drop(&mut self) {
        self.0.stop_unborn();
    }
}

/// Sends what a process sends to one that is no guest, `{:tidepool, process, tag, bytes}`, and answers it; other steps are the
/// driver's.
pub(crate) fn sent(env: Env<'_>, task: &Task, step: Step) -> Option<Step> {
    match step {
        Step::Host(HostRequest::Process(ProcessRequest::Send { to, tag, bytes })) if !to.is_away => {
            send(env, to.address, tag, &bytes);
            task.answer(Ok(bytes::Bytes::new()));
            None
        }
        step => Some(step),
    }
}

/// Sends what a process has sent to others before, for now. What is for another node is a step, as if it were sent now.
pub(crate) fn send_later(env: Env<'_>, task: &Task) -> Option<Step> {
    while let Some((to, tag, bytes)) = task.take_later() {
        if to.is_away {
            return Some(Step::Host(HostRequest::Process(ProcessRequest::Send { to, tag, bytes })));
        }
        send(env, to.address, tag, &bytes);
    }
    None
}

fn send(env: Env<'_>, to: Option<Address>, tag: i64, bytes: &[u8]) {
    if let Some(to) = to.and_then(pid::pid) {
        // A dead receiver needs no message.
        let _ = env.send(&to, (atoms::tidepool(), env.pid(), tag, encode::copy(env, bytes)));
    }
}

/// What a process asks of its driver, as a term. `child` is the process that is to be started.
pub(crate) fn request(env: Env<'_>, request: ProcessRequest, child: Option<ProcessRef>) -> Term<'_> {
    // Those of other nodes by their numbers.
    let of = |to: Peer| if to.is_away { to.id.encode(env) } else { pid::term(env, to.address) };
    match request {
        ProcessRequest::Spawn { id, link } => {
            let child = child.map(|child| ResourceArc::new(ProcessHandle(child)));
            (atoms::spawn(), child, id, link).encode(env)
        }
        ProcessRequest::Link { to, tag } => (atoms::link(), of(to), to.is_guest, tag).encode(env),
        ProcessRequest::Unlink { to } => (atoms::unlink(), of(to), to.is_guest).encode(env),
        ProcessRequest::DieWhenLinkDies(dies) => (atoms::die_when_link_dies(), dies).encode(env),
        ProcessRequest::Monitor { to } => (atoms::monitor(), of(to), to.id).encode(env),
        ProcessRequest::StopMonitoring { to } => (atoms::stop_monitoring(), to.id).encode(env),
        ProcessRequest::Kill { to } => (atoms::kill(), of(to), to.is_guest).encode(env),
        ProcessRequest::Frozen => atoms::frozen().encode(env),
        ProcessRequest::Upgrade => atoms::upgrade().encode(env),
        // Others were sent: see above.
        ProcessRequest::Send { to, tag, bytes } => (atoms::send(), to.id, tag, encode::copy(env, &bytes)).encode(env),
        ProcessRequest::Exists { to } => (atoms::exists(), to.id).encode(env),
        ProcessRequest::SpawnAway(asked) => (atoms::spawn_away(), asked.node, away(env, *asked)).encode(env),
        ProcessRequest::Name(asked) => {
            (atoms::name(), name_operation(asked.operation), asked.name, asked.id).encode(env)
        }
        ProcessRequest::Compile { wasm } => (atoms::compile(), encode::copy(env, &wasm)).encode(env),
    }
}

fn name_operation(operation: NameOperation) -> Atom {
    match operation {
        NameOperation::Put => atoms::put(),
        NameOperation::Claim => atoms::claim(),
        NameOperation::Get => atoms::get(),
        NameOperation::Remove => atoms::remove(),
        NameOperation::Free => atoms::free(),
    }
}

/// A process that is to be started on another node, as a term that travels there.
fn away(env: Env<'_>, away: Away) -> Term<'_> {
    let [compile, configure, spawn] = away.may;
    encode::map(
        env,
        vec![
            (atoms::entry(), away.entry.encode(env)),
            (atoms::params(), encode::copy(env, &away.params)),
            (atoms::max_memory(), away.max_memory.encode(env)),
            (atoms::max_fuel(), away.max_fuel.encode(env)),
            (atoms::total_cpu_us(), away.total_cpu_us.encode(env)),
            (atoms::may(), (compile, configure, spawn).encode(env)),
            (atoms::args(), away.args.encode(env)),
            (atoms::env(), away.env.encode(env)),
        ],
    )
}

/// What a process asks of a folder that the host answers for: `{:file, folder, path, operation}`, where paths are lists of names.
pub(crate) fn file(env: Env<'_>, request: FileRequest) -> Term<'_> {
    let kind = |folder: bool| if folder { atoms::directory() } else { atoms::file() };
    let path = |path: &str| path.split('/').filter(|name| !name.is_empty()).collect::<Vec<_>>().encode(env);
    let operation = match request.operation {
        FileOperation::Stat => atoms::stat().encode(env),
        FileOperation::List => atoms::list().encode(env),
        FileOperation::Read { offset, length } => (atoms::read(), offset, length).encode(env),
        FileOperation::Write { offset, bytes } => {
            let offset = offset.map_or_else(|| atoms::eof().encode(env), |offset| offset.encode(env));
            (atoms::write(), offset, encode::message(env, bytes)).encode(env)
        }
        FileOperation::Resize { size } => (atoms::resize(), size).encode(env),
        FileOperation::Create { folder } => (atoms::create(), kind(folder)).encode(env),
        FileOperation::Remove { folder } => (atoms::remove(), kind(folder)).encode(env),
        FileOperation::Rename { to } => (atoms::rename(), path(&to)).encode(env),
    };
    (atoms::file(), request.folder, path(&request.path), operation).encode(env)
}
