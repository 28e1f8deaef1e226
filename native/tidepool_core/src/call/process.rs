//! Processes: tasks that belong to a program. How they begin, and how one makes another.

pub(super) mod lives;
pub(crate) mod packed;
pub(super) mod prepare;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::{ExternType, Val};

use self::prepare::{bounds, new_program, prepare};
use super::member::{Making, Member, ProcessRef, Signal, Unborn};
use super::target::{Call, Target};
use super::task::Task;
use crate::abi::guest::{ENTRY, Guest, Module};
use crate::base::console::{Console, Line};
use crate::base::error::CallError;
use crate::base::request::{Address, Peer, Reply, Request};
use crate::base::trap::Frame;
use crate::instance::live::Instance;
use crate::process::bounds::Bounds;
use crate::process::bounds::account::Share;
use crate::process::config::{Config, World};
use crate::process::delivery::Room;
use crate::process::files::folder::folders;
use crate::process::handle::Process;
use crate::process::place::Place;
use crate::process::program::Output;
use crate::process::stdio::Stdio;
use crate::process::ties::Ties;
use crate::store::context::FunctionContext;
use crate::store::frames::Stays;

/// How a program is started.
#[derive(Clone)]
pub struct ProcessOptions {
    /// The export that its first process runs, `() -> ()`: `_start` for programs.
    pub entry: String,
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Names and values of its environment.
    pub env: Vec<(String, String)>,
    /// Where lines go that it prints; the console, when there is none.
    pub output: Option<Arc<dyn Output>>,
    /// Standard input and output of the program's own, byte for byte; then `output` has only what the guest prints elsewhere.
    pub stdio: Option<Arc<Stdio>>,
    /// CPU time that each of its processes may use; without limit, when there is none.
    pub cpu_time: Option<Duration>,
    /// The same of all of them together, on each node.
    pub total_cpu_time: Option<Duration>,
    /// The number of this node among those of its cluster; never 0.
    pub node: u64,
    /// Tells its module from all others; 0 when other nodes can't have it.
    pub module: u64,
    /// Paths of files that it finds in its folders in memory, and what they hold.
    pub files: Vec<(String, Bytes)>,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        ProcessOptions {
            entry: ENTRY.into(),
            args: Vec::new(),
            env: Vec::new(),
            output: None,
            stdio: None,
            cpu_time: None,
            total_cpu_time: None,
            node: 1,
            module: 0,
            files: Vec::new(),
        }
    }
}

impl ProcessRef {
    /// The task of a process that nobody drives yet, once, for its driver. `None` when it was killed before, or its program has
    /// ended.
    #[must_use]
    pub fn begin(&self, driver: Address) -> Option<Task> {
        // In this order: who ends a program says so first, and then looks which drivers there are.
        self.program.set_driver(&self.process, driver);
        if self.program.has_ended() {
            self.process.stop_unborn();
        }
        self.process.take_unborn::<Task>().map(|task| *task)
    }
}

impl Task {
    /// Is it a process?
    #[must_use]
    pub fn is_process(&self) -> bool {
        self.member.is_some()
    }

    /// Is it a process of a program that has ended?
    #[must_use]
    pub fn program_has_ended(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.guest.program.has_ended())
    }

    /// The I/O threads.
    #[must_use]
    pub fn io(&self) -> &tokio::runtime::Handle {
        &self.call.target.node.io
    }

    /// The process that is driven, when it is one.
    #[must_use]
    pub fn process_ref(&self) -> Option<ProcessRef> {
        let member = self.member.as_ref()?;
        member.reference(member.guest.process.id)
    }

    /// Another process of the program.
    #[must_use]
    pub fn other(&self, id: u64) -> Option<ProcessRef> {
        self.member.as_ref()?.reference(id)
    }

    /// Says what drives the process.
    pub fn set_address(&self, address: Address) {
        if let Some(member) = &self.member {
            member.guest.program.set_driver(&member.guest.process, address);
        }
    }

    /// Tells a process something; drive it next.
    pub fn signal(&self, signal: Signal) {
        if let Some(member) = &self.member {
            member.signal(signal);
        }
    }

    /// The process is to have these links and monitors in the VM: `false` when its program has no room for them, or itself, and nothing is
    /// changed.
    #[must_use]
    pub fn hold_ties(&self, ties: Ties) -> bool {
        self.member.as_ref().is_none_or(|member| member.process.hold_ties(ties, member.guest.program.mailbox_bytes))
    }

    /// The same for a process that can't be refused them: drive it next, and it ends then where there is no room.
    #[must_use]
    pub fn need_ties(&self, ties: Ties) -> bool {
        self.member.as_ref().is_none_or(|member| member.process.need_ties(ties, member.guest.program.mailbox_bytes))
    }

    /// The process has these, whether there is room or not: it has fewer than before, or others have made some.
    pub fn keep_ties(&self, ties: Ties) {
        if let Some(member) = &self.member {
            member.process.keep_ties(ties, member.guest.program.mailbox_bytes);
        }
    }

    /// The same, once the process has taken note of a link that another one of its program on this node has made or removed.
    pub fn note_ties(&self, ties: Ties) {
        if let Some(member) = &self.member {
            member.process.note_ties(ties, member.guest.program.mailbox_bytes);
        }
    }

    /// A message of the process's own that is due for a process of the host's, or of another node: who drives it sends that,
    /// whatever it waits for.
    #[must_use]
    pub fn take_later(&self) -> Option<(Peer, i64, Vec<u8>)> {
        let member = self.member.as_ref()?;
        let program = &member.guest.program;
        loop {
            let (to, data) = member.process.take_later()?;
            // What is due for the dead is gone.
            let address = program.process(to).and_then(|to| to.address());
            let to = Peer { id: to, address, is_guest: false, is_away: program.place.is_away(to) };
            if to.is_away || address.is_some() {
                return Some((to, data.tag, data.bytes));
            }
        }
    }

    /// Is there room in the process's mailbox for a message with this tag? Those ask who send from other nodes.
    #[must_use]
    pub fn room(&self, tag: i64) -> Room {
        self.member.as_ref().map_or(Room::Free, |member| member.room(tag))
    }

    /// Has the guest show where it is, in its next slice: see [`Task::seen`]. One that waits in a function of WASI doesn't.
    pub fn look(&self) {
        self.call.channel.look();
    }

    /// Has the guest leave its stack at the next wait in which it can: then its driver gets [`ProcessRequest::Frozen`](crate::ProcessRequest::Frozen), and it goes on in
    /// another instance when that is answered. For modules that are [`movable`](crate::CompileConfig::movable).
    pub fn freeze(&self) {
        self.call.channel.ask_to_leave(false);
    }

    /// Why the guest did not leave its stack in the wait that it is in, or was; once.
    #[must_use]
    pub fn stays(&self) -> Option<Stays> {
        self.call.channel.take_stays()
    }

    /// Where the guest was when it was looked for, innermost first; once.
    #[must_use]
    pub fn seen(&self) -> Option<Vec<Frame>> {
        self.call.channel.take_seen()
    }

    /// Counts the CPU time of compiling a module as the process's, whatever came of that; as its program's it was
    /// [counted](ProcessRef::compiling).
    pub fn compiled(&mut self, spent: Duration) {
        self.cpu_time += spent;
    }

    /// Gives the process that asked for it what its module was compiled to, whose code is of its program's account from now on; answer
    /// next.
    ///
    /// # Errors
    /// That the program has no room for the code.
    pub(crate) fn give_module(&self, target: Arc<Target>) -> Result<(), String> {
        let Some(member) = &self.member else { return Err("a call brings no modules".into()) };
        let account = &member.guest.program.account;
        let bytes = target.module.bytes().saturating_add(target.function.text_bytes);
        let mut share = Share::new(account, 0);
        if !share.hold(bytes) {
            return Err(format!("the module's code has {bytes} bytes: {}", account.refusal()));
        }
        self.call.channel.give(Arc::new(Module::new(target.brought_by(&self.call.target), share)));
        Ok(())
    }
}

/// A program that begins: the task of its first process.
///
/// # Errors
/// [`CallError::NoProgram`] when its ABI has calls alone, [`CallError::Overloaded`] when there is no room for its files,
/// [`CallError::InvalidOption`] when they belong nowhere, or it has no such entry, and [`CallError::Quota`] when its namespace has had its
/// calls.
pub(crate) fn start(target: &Arc<Target>, options: ProcessOptions) -> Result<Task, CallError> {
    if !target.module.abi.runs {
        return Err(CallError::NoProgram { abi: target.module.abi.name });
    }
    fit_entry(target.module.as_module(), &options.entry)?;
    target.begin()?;
    let ProcessOptions { entry, args, env, output, stdio, cpu_time, total_cpu_time, node, module, files } = options;
    let place = Place::first(node, module, &target.node.others);
    let bounds = Bounds { total_cpu: total_cpu_time, ..bounds(target) };
    let program = new_program(target, bounds, place, output);
    let program = Arc::new(program.with_stdio(stdio).with_drop_thread(&target.node.drop_thread));
    let world = World { args, env, ..World::default() };
    let refused = |message| CallError::Overloaded { message };
    let folders = folders(&target.function.folders, target.node.files, &program.account, &files)?;
    let config = Arc::new(Config::first(world, folders, cpu_time));
    let process = program.add_guest(entry, config.text_bytes()).map_err(refused)?;
    let guest = Arc::new(Guest { program, process, config, is_foreign: false, brought: None });
    let call = Call::new(Arc::clone(target), Request::none());
    let future = Box::pin(first(call.clone(), Arc::clone(&guest)));
    Ok(Task::process(future, call, Member::new(guest, making)))
}

/// Could the first process of a program, which is given nothing, run this export? A command has one that it runs.
fn fit_entry(module: Option<&wasmtime::Module>, entry: &str) -> Result<(), CallError> {
    let Some(module) = module else {
        return if entry == ENTRY {
            Ok(())
        } else {
            Err(unfit(format!("a command has no entry `{entry}`: leave it out")))
        };
    };
    match module.get_export(entry) {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 => Ok(()),
        Some(ExternType::Func(ty)) => {
            let params: Vec<String> = ty.params().map(|it| it.to_string()).collect();
            let params = params.join(", ");
            Err(unfit(format!("the export `{entry}` takes ({params}), and a program's first process is given nothing")))
        }
        _other => Err(unfit(format!("the module exports no function `{entry}` for a program's first process to run"))),
    }
}

fn unfit(message: String) -> CallError {
    CallError::InvalidOption { message }
}

/// Has the first process of a program go on as `target`, with what it has left.
///
/// # Errors
/// Why it goes on as it is.
pub(crate) fn take_over(target: &Arc<Target>, task: &mut Task) -> Result<(), String> {
    let Some(guest) = task.member.as_ref().map(|member| Arc::clone(&member.guest)) else {
        return Err("a call is not upgraded".into());
    };
    let (program, version) = (&guest.program, target.function.version);
    if !target.module.abi.runs {
        return Err(format!("version {version} is a {} function, and no program", target.module.abi.name));
    }
    if program.version() == version {
        return Err(format!("version {version}, which runs, is the newest"));
    }
    program.become_version(version, &target.function.grants);
    // The parts of the program on other nodes are of the version that it began with.
    let (process, config) = (Arc::clone(&guest.process), Arc::clone(&guest.config));
    let guest = Arc::new(Guest { program: Arc::clone(program), process, config, is_foreign: true, brought: None });
    let call = Call::new(Arc::clone(target), Request::none());
    let future = Box::pin(first(call.clone(), Arc::clone(&guest)));
    task.go_on_as(call, future, guest);
    Ok(())
}

async fn first(call: Call, guest: Arc<Guest>) -> Result<Reply, CallError> {
    let target = &*call.target;
    let permit = target.admit(false, &call.channel).await?;
    let function = context(target, &guest);
    let prepare = prepare(&call, guest, &[]);
    let instance = Box::pin(Instance::new(&target.module, &function, permit, prepare)).await?;
    lives::run(instance, (&call, &function), &[]).await
}

pub(super) fn making(target: Arc<Target>, guest: Arc<Guest>, params: Vec<Val>) -> Making {
    Box::pin(async move { make(target, guest, params).await.map(|task| Box::new(task) as Unborn) })
}

/// Makes a process: its task, which runs when it is let go.
async fn make(target: Arc<Target>, guest: Arc<Guest>, params: Vec<Val>) -> Result<Task, CallError> {
    let call = Call::new(target, Request::none());
    let permit = call.target.admit(true, &call.channel).await?;
    let (function, process) = (context(&call.target, &guest), Arc::clone(&guest.process));
    let prepare = prepare(&call, Arc::clone(&guest), &params);
    let instance = Instance::new(&call.target.module, &function, permit, prepare).await?;
    let future = Box::pin(born(instance, (call.clone(), function), process, params));
    Ok(Task::process(future, call, Member::new(guest, making)))
}

async fn born(
    instance: Instance,
    (call, function): (Call, Arc<FunctionContext>),
    process: Arc<Process>,
    params: Vec<Val>,
) -> Result<Reply, CallError> {
    poll_fn(|cx| process.poll_released(cx)).await;
    lives::run(instance, (&call, &function), &params).await
}

/// The function as the process has it: what it prints may go elsewhere, within the same budget of lines.
pub(super) fn context(target: &Target, guest: &Guest) -> Arc<FunctionContext> {
    match &guest.program.output {
        None => Arc::clone(&target.function),
        Some(output) => {
            let console = Captured { output: Arc::clone(output), process: Arc::clone(&guest.process) };
            Arc::new(FunctionContext {
                console: Arc::new(console),
                lines: None,
                ..FunctionContext::clone(&target.function)
            })
        }
    }
}

/// Passes on what one process prints.
struct Captured {
    output: Arc<dyn Output>,
    process: Arc<Process>,
}

impl Console for Captured {
    fn print(&self, line: Line) -> Result<(), Line> {
        self.output.line(self.process.address(), line.stream, &line.text);
        Ok(())
    }
}
