//! Processes: tasks of programs, each driven by a process of the VM.

use std::sync::Arc;
use std::time::Duration;

use rustler::types::map::MapIterator;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, ResourceArc, Term};
use tidepool_core::console::Stream;
use tidepool_core::trap::Frame;
use tidepool_core::{
    Address, Figure, Output, ProcessInfo, ProcessOptions, ProcessRef, Signal, Stdio, Task, Terminal, Ties,
    UpgradeAnswer,
};
use tidepool_errors::Reason;

use crate::function::call::{TaskHandle, first_slice, next_slice, not_deployed, with_call, with_task};
use crate::function::deploy::FunctionHandle;
use crate::function::request::ProcessHandle;
use crate::function::turn::Call;
use crate::function::wake::{Letter, post};
use crate::node::handle::Node;
use crate::terms::decode::{List, field};
use crate::terms::message::message;
use crate::terms::{atoms, encode, pid};

/// Starts a program of a published function, and drives its first process for its first slice. `options` are `entry`, `args`,
/// `env` and `files` (maps), `output` and `stdio` (a pid, or `nil`) and `cpu_time` and `total_cpu_time` (ms for each process, and for all, or `nil`).
#[rustler::nif]
fn start_process<'a>(env: Env<'a>, node: &'a Node, name: Binary<'a>, options: Term<'a>) -> NifResult<Term<'a>> {
    let options = decode(node, env.pid(), options)?;
    let Ok(name) = std::str::from_utf8(name.as_slice()) else { return Ok(not_deployed(env)) };
    let started = node.runtime.directory().with(name, |published| published.function.start_process(options));
    Ok(match started {
        Some(Ok(task)) => {
            if let Some(address) = pid::address(env.pid()) {
                task.set_address(address);
            }
            first_slice(env, task)
        }
        Some(Err(error)) => encode::call_error(env, &error),
        None => not_deployed(env),
    })
}

fn decode(node: &Node, program: LocalPid, options: Term<'_>) -> NifResult<ProcessOptions> {
    let pairs = MapIterator::new(field(options, atoms::env())?).ok_or(rustler::Error::BadArg)?;
    let env = pairs.map(|(name, value)| Ok((name.decode()?, value.decode()?))).collect::<NifResult<_>>()?;
    let pairs = MapIterator::new(field(options, atoms::files())?).ok_or(rustler::Error::BadArg)?;
    let file = |(path, content): (Term<'_>, Term<'_>)| Ok((path.decode()?, message(content.decode()?)));
    let files = pairs.map(file).collect::<NifResult<_>>()?;
    let output = field::<Option<LocalPid>>(options, atoms::output())?;
    let stdio = field::<Option<LocalPid>>(options, atoms::stdio())?;
    Ok(ProcessOptions {
        entry: field(options, atoms::entry())?,
        cpu_time: field::<Option<u64>>(options, atoms::cpu_time())?.map(crate::terms::decode::millis),
        total_cpu_time: field::<Option<u64>>(options, atoms::total_cpu_time())?.map(crate::terms::decode::millis),
        args: field::<List<String>>(options, atoms::args())?.0,
        env,
        files,
        output: output.map(|to| Arc::new(Lines { to, io: node.io().clone() }) as Arc<dyn Output>),
        node: field(options, atoms::node())?,
        module: field(options, atoms::module())?,
        stdio: stdio.map(|to| Arc::new(Stdio::new(Box::new(Remote { to, program, io: node.io().clone() })))),
    })
}

/// Sends what a program prints to a process: `{:tidepool_output, process, stream, line}`.
struct Lines {
    to: LocalPid,
    io: tokio::runtime::Handle,
}

impl Output for Lines {
    fn line(&self, process: Option<Address>, stream: Stream, text: &str) {
        let stream = self::stream(stream);
        post(Letter::Line { to: self.to, process, stream, text: text.to_owned() }, &self.io);
    }
}

/// A process that is at the other end of a program's standard input and output. It gets `{:tidepool_input, program}` when
/// the program waits for input, and `{:tidepool_output, program, stream, bytes}`.
struct Remote {
    to: LocalPid,
    /// Its first process.
    program: LocalPid,
    io: tokio::runtime::Handle,
}

impl Terminal for Remote {
    fn wanted(&self) {
        post(Letter::Wanted { to: self.to, program: self.program }, &self.io);
    }

    fn wrote(&self, stream: Stream, bytes: &[u8]) {
        let (to, program, stream) = (self.to, self.program, self::stream(stream));
        post(Letter::Written { to, program, stream, bytes: bytes.to_vec() }, &self.io);
    }
}

fn stream(stream: Stream) -> Atom {
    match stream {
        Stream::Console => atoms::console(),
        Stream::Stdout => atoms::stdout(),
        Stream::Stderr => atoms::stderr(),
    }
}

/// Gives a program input that it has asked for: bytes, or `:eof`.
#[rustler::nif]
fn process_input(process: &ProcessHandle, input: Term<'_>) -> NifResult<Atom> {
    let more = if input.is_atom() { None } else { Some(input.decode::<Binary<'_>>()?) };
    if more.is_none() && input.decode::<Atom>()? != atoms::eof() {
        return Err(rustler::Error::BadArg);
    }
    match (process.0.stdio(), more) {
        (Some(stdio), Some(bytes)) => stdio.give(bytes::Bytes::copy_from_slice(bytes.as_slice())),
        (Some(stdio), None) => stdio.end(),
        (None, _) => {}
    }
    Ok(atoms::ok())
}

/// So many bytes of a program's output are where they were to go.
#[rustler::nif]
fn process_written(process: &ProcessHandle, bytes: usize) -> Atom {
    if let Some(stdio) = process.0.stdio() {
        stdio.written(bytes);
    }
    atoms::ok()
}

/// The process that a task drives.
#[rustler::nif]
fn process_ref<'a>(env: Env<'a>, task: &'a TaskHandle) -> Term<'a> {
    let process = with_task(env, task, Task::process_ref).ok().flatten();
    process.map(|process| ResourceArc::new(ProcessHandle(process))).encode(env)
}

/// Makes the caller the driver of a process that was made, and drives it; `:killed` when that has ended before, `:ended` when
/// its program has.
#[rustler::nif]
fn process_begin<'a>(env: Env<'a>, process: &'a ProcessHandle) -> Term<'a> {
    match pid::address(env.pid()).and_then(|driver| process.0.begin(driver)) {
        Some(task) => first_slice(env, task),
        None if process.0.program_has_ended() => atoms::ended().encode(env),
        None => atoms::killed().encode(env),
    }
}

/// Tells the maker of a process which process drives it, and goes on with the maker.
#[rustler::nif]
fn process_spawned<'a>(env: Env<'a>, task: Term<'a>, id: u64, child: LocalPid) -> NifResult<Term<'a>> {
    let handle: &TaskHandle = task.decode()?;
    let child = pid::address(child);
    let told = with_task(env, handle, |task| {
        if let (Some(process), Some(address)) = (task.other(id), child) {
            process.set_address(address);
        }
    });
    Ok(told.map_or_else(|refusal| refusal, |()| next_slice(env, task, handle, Some(Ok(bytes::Bytes::new())))))
}

/// Tells a process something (`{:message, tag, bytes}`, `{:post, tag, bytes}` of another node, `{:link_died, tag, pid}`, `{:process_died, id}`), and drives it.
#[rustler::nif]
fn process_signal<'a>(env: Env<'a>, task: Term<'a>, signal: Term<'a>) -> NifResult<Term<'a>> {
    let handle: &TaskHandle = task.decode()?;
    let signal = self::signal(signal)?;
    let told = with_task(env, handle, |task| task.signal(signal));
    Ok(told.map_or_else(|refusal| refusal, |()| next_slice(env, task, handle, None)))
}

/// The same without driving it.
#[rustler::nif]
fn process_tell<'a>(env: Env<'a>, task: &'a TaskHandle, signal: Term<'a>) -> NifResult<Term<'a>> {
    let signal = self::signal(signal)?;
    let told = with_task(env, task, |task| task.signal(signal));
    Ok(told.map_or_else(|refusal| refusal, |()| atoms::ok().encode(env)))
}

/// The process has so many links and monitors in the VM, or is to: by `hold` `false` where there is no room for them, by `need` it ends as well
/// when it is driven next, and by `keep` they are counted whether there is room or not. By `noted` as well, and it has taken note of a link that
/// another process of its program on this node has made or removed.
#[rustler::nif]
fn process_ties<'a>(env: Env<'a>, task: &'a TaskHandle, links: u32, monitors: u32, how: Atom) -> NifResult<Term<'a>> {
    let [links, monitors] = [links, monitors].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let ties = Ties { links, monitors };
    let counted = with_task(env, task, |task| match how {
        how if how == atoms::hold() => Ok(task.hold_ties(ties)),
        how if how == atoms::need() => Ok(task.need_ties(ties)),
        how if how == atoms::keep() => {
            task.keep_ties(ties);
            Ok(true)
        }
        how if how == atoms::noted() => {
            task.note_ties(ties);
            Ok(true)
        }
        _ => Err(rustler::Error::BadArg),
    });
    match counted {
        Ok(counted) => Ok(counted?.encode(env)),
        Err(refusal) => Ok(refusal),
    }
}

fn signal(term: Term<'_>) -> NifResult<Signal> {
    if let Ok((kind, tag, bytes)) = term.decode::<(Atom, i64, Binary<'_>)>() {
        let bytes = bytes.as_slice().to_vec();
        return match kind {
            kind if kind == atoms::message() => Ok(Signal::Message { tag, bytes }),
            kind if kind == atoms::post() => Ok(Signal::Post { tag, bytes }),
            _ => Err(rustler::Error::BadArg),
        };
    }
    if let Ok((kind, tag, driver)) = term.decode::<(Atom, i64, Option<LocalPid>)>() {
        let died = Signal::LinkDied { tag, driver: driver.and_then(pid::address) };
        return if kind == atoms::link_died() { Ok(died) } else { Err(rustler::Error::BadArg) };
    }
    let (kind, number): (Atom, Term<'_>) = term.decode()?;
    if kind == atoms::process_died() {
        Ok(Signal::ProcessDied { id: number.decode()? })
    } else {
        Err(rustler::Error::BadArg)
    }
}

/// Gives a process the function that it asked to be compiled, or why there is none, and drives it. The CPU time that this took counts as
/// its own.
#[rustler::nif]
fn process_compiled<'a>(env: Env<'a>, task: Term<'a>, outcome: Term<'a>, cpu_us: u64) -> NifResult<Term<'a>> {
    let handle: &TaskHandle = task.decode()?;
    let (kind, it): (Atom, Term<'_>) = outcome.decode()?;
    let function: Result<&FunctionHandle, String> =
        if kind == atoms::ok() { Ok(it.decode()?) } else { Err(it.decode()?) };
    let told = with_call(env, handle, |Call { task, .. }| {
        task.compiled(Duration::from_micros(cpu_us));
        function.and_then(|function| function.0.give_to(task))
    });
    let told = told.map(|told| told.map(|()| bytes::Bytes::new()).map_err(bytes::Bytes::from));
    Ok(told.map_or_else(|refusal| refusal, |told| next_slice(env, task, handle, Some(told))))
}

/// Has a process that asked for it go on as the newest version of its function, and drives it; it is told when it can't.
#[rustler::nif]
fn process_upgrade<'a>(env: Env<'a>, node: &'a Node, task: Term<'a>) -> NifResult<Term<'a>> {
    let handle: &TaskHandle = task.decode()?;
    let upgraded = with_call(env, handle, |Call { task, .. }| {
        let name = task.process_ref().map(|process| process.info().function).unwrap_or_default();
        let taken = node.runtime.directory().with(&name, |published| published.function.take_over(task));
        taken.unwrap_or_else(|| Err("no function of its name is deployed any more".into()))
    });
    Ok(upgraded.map_or_else(
        |refusal| refusal,
        |upgraded| next_slice(env, task, handle, upgraded.err().map(|text| Err(text.into()))),
    ))
}

/// Asks a program to become a version of its function: the tag of the message that it is to get, `:asked` when it was asked
/// before, `:refused` when it takes no upgrades, `:not_a_program` when what is deployed now has calls alone.
#[rustler::nif]
fn process_ask_upgrade<'a>(env: Env<'a>, node: &'a Node, process: &'a ProcessHandle, version: u64) -> Term<'a> {
    let name = process.0.info().function;
    if node.runtime.directory().with(&name, |published| published.function.runs()) == Some(false) {
        return atoms::reason(env, Reason::NotAProgram).encode(env);
    }
    match process.0.ask_upgrade(version) {
        UpgradeAnswer::Now(tag) => tag.encode(env),
        UpgradeAnswer::Before => atoms::asked().encode(env),
        UpgradeAnswer::Refused => atoms::refused().encode(env),
    }
}

/// Drives a process and looks where it is: what it needs next, and the functions that it is in, innermost first; `nil` when it
/// did not show them.
#[rustler::nif]
fn process_look<'a>(env: Env<'a>, task: Term<'a>) -> NifResult<(Term<'a>, Option<Vec<String>>)> {
    let handle: &TaskHandle = task.decode()?;
    if let Err(refusal) = with_task(env, handle, Task::look) {
        return Ok((refusal, None));
    }
    let step = next_slice(env, task, handle, None);
    let seen = with_task(env, handle, Task::seen).ok().flatten();
    let name = |frame: Frame| frame.name.unwrap_or_else(|| format!("function {}", frame.index));
    Ok((step, seen.map(|frames| frames.into_iter().map(name).collect())))
}

/// What is known of a process.
#[rustler::nif]
fn process_info<'a>(env: Env<'a>, process: &'a ProcessHandle) -> Term<'a> {
    info(env, &process.0)
}

/// What is known of the process with a number in the program of a guest; `nil` when there is none.
#[rustler::nif]
fn process_find<'a>(env: Env<'a>, process: &'a ProcessHandle, id: u64) -> Term<'a> {
    match process.0.find(id) {
        Some(found) => info(env, &found),
        None => atoms::nil().encode(env),
    }
}

/// What is known of each process of a program.
#[rustler::nif(schedule = "DirtyCpu")]
fn process_infos<'a>(env: Env<'a>, process: &'a ProcessHandle) -> Vec<Term<'a>> {
    process.0.guests().iter().map(|process| info(env, process)).collect()
}

fn info<'a>(env: Env<'a>, process: &ProcessRef) -> Term<'a> {
    let driver = pid::term(env, process.address());
    let ProcessInfo { id, program, function, version, entry, messages, message_bytes, memory_bytes, cpu_time } =
        process.info();
    encode::map(
        env,
        vec![
            (atoms::id(), id.encode(env)),
            (atoms::pid(), driver),
            (atoms::program(), program.encode(env)),
            (atoms::function(), function.encode(env)),
            (atoms::version(), version.encode(env)),
            (atoms::entry(), entry.encode(env)),
            (atoms::message_queue(), messages.encode(env)),
            (atoms::message_bytes(), message_bytes.encode(env)),
            (atoms::memory(), memory_bytes.encode(env)),
            (atoms::cpu_us(), encode::micros(cpu_time).encode(env)),
        ],
    )
}

/// Has a program make no process from now on; the pids of all that there are.
#[rustler::nif(schedule = "DirtyCpu")]
fn process_end<'a>(env: Env<'a>, process: &'a ProcessHandle) -> Vec<Term<'a>> {
    process.0.end_program();
    // As they were made: neighbours in memory end one after the other, and what they had is given back together.
    let mut guests = process.0.guests();
    guests.sort_unstable_by_key(ProcessRef::id);
    guests.iter().filter_map(ProcessRef::address).filter_map(pid::pid).map(|pid| pid.encode(env)).collect()
}

/// The number of a process of the VM in the program of a guest.
#[rustler::nif]
fn process_introduce(env: Env<'_>, process: &ProcessHandle, pid: LocalPid) -> NifResult<u64> {
    let lives = |address| pid::pid(address).is_some_and(|pid| env.is_process_alive(pid));
    pid::address(pid).map(|address| process.0.introduce(address, lives)).ok_or(rustler::Error::BadArg)
}

/// `{id, pid}` of the process that has a name in the program of a guest, or `nil`.
#[rustler::nif]
fn process_whereis<'a>(env: Env<'a>, process: &'a ProcessHandle, name: String) -> Term<'a> {
    match process.0.whereis(&name) {
        Some(found) => (found.id(), pid::term(env, found.address())).encode(env),
        None => atoms::nil().encode(env),
    }
}

/// What a program reports of itself: `{name, :counter, number}`, `{name, :gauge, number}`, `{name, :histogram, {values, sum}}`. There
/// may be a thousand.
#[rustler::nif(schedule = "DirtyCpu")]
fn process_figures<'a>(env: Env<'a>, process: &'a ProcessHandle) -> Vec<Term<'a>> {
    let figure = |(name, figure): (String, Figure)| match figure {
        Figure::Counter(value) => (name, atoms::counter(), value).encode(env),
        Figure::Gauge(value) => (name, atoms::gauge(), value).encode(env),
        Figure::Histogram(values, sum) => (name, atoms::histogram(), (values, sum)).encode(env),
    };
    process.0.figures().into_iter().map(figure).collect()
}
