//! A task's place in a program: the process that it is, those that it makes, and what others may know of it and do with it.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::target::Target;
use crate::abi::guest::{Guest, Plan};
use crate::base::error::CallError;
use crate::base::request::{Address, NameOperation};
use crate::process::bounds::cpu::CpuBounds;
use crate::process::delivery::Room;
use crate::process::handle::Process;
use crate::process::message::{Data, Message};
use crate::process::metrics::Figure;
use crate::process::place::naming::Named;
use crate::process::program::Program;
use crate::process::stdio::Stdio;
use crate::process::upgrade::UpgradeAnswer;

/// Bytes that a process of another node sends between two questions whether there is room.
const WINDOW: usize = 64 << 10;

/// What a process is told beside what other guests send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A message of the host's.
    Message {
        /// 0 is none.
        tag: i64,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A message of a process of another node, which waits for room before it sends much more.
    Post {
        /// 0 is none.
        tag: i64,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A process that it was linked to has died.
    LinkDied {
        /// The link's.
        tag: i64,
        /// What has driven it.
        driver: Option<Address>,
    },
    /// A process that it watches has ended.
    ProcessDied {
        /// Its number.
        id: u64,
    },
}

/// A process of a program, for those who don't drive it.
#[derive(Clone)]
pub struct ProcessRef {
    pub(super) program: Arc<Program>,
    pub(super) process: Arc<Process>,
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessInfo {
    /// Its number in its program.
    pub id: u64,
    /// Tells its program from all others of the node.
    pub program: u64,
    /// The function whose module the program is, and its version.
    pub function: String,
    /// The function's version.
    pub version: u64,
    /// The export that it runs.
    pub entry: String,
    /// Messages that it has not received.
    pub messages: usize,
    /// What they take, in bytes.
    pub message_bytes: usize,
    /// Its linear memory when it last waited, in bytes.
    pub memory_bytes: u64,
    /// What it has computed.
    pub cpu_time: Duration,
}

impl ProcessRef {
    /// Its number in its program.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.process.id
    }

    /// What drives it.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.process.address()
    }

    /// Says what drives it.
    pub fn set_address(&self, address: Address) {
        self.program.set_driver(&self.process, address);
    }

    /// Does what a process of its program has asked for, `compiling` a module, and counts the CPU time that it says as the program's: the
    /// process itself may be gone by then. The next one of the program's compiles when this is over.
    pub fn compiling<T>(&self, compile: impl FnOnce() -> (T, Duration)) -> (T, Duration) {
        let _turn = self.program.compiling.take();
        let (compiled, spent) = compile();
        self.program.total_cpu.charge(spent);
        (compiled, spent)
    }

    /// Ends a process that nobody drives yet.
    pub fn stop_unborn(&self) {
        self.process.stop_unborn();
    }

    /// The number of a process of the host's in the program: guests send to it as to any other. `lives` says of others
    /// that have one whether they are there still.
    #[must_use]
    pub fn introduce(&self, address: Address, lives: impl Fn(Address) -> bool) -> u64 {
        self.program.introduce(address, lives)
    }

    /// What drives the process with this number in its program, and whether it is a guest, if it lives here.
    #[must_use]
    pub fn locate(&self, id: u64) -> Option<(Address, bool)> {
        let process = self.program.process(id)?;
        Some((process.address()?, process.is_guest()))
    }

    /// Lets a process run that was made for another node.
    pub fn release(&self) {
        self.process.release();
    }

    /// The process of its program that has this name.
    #[must_use]
    pub fn whereis(&self, name: &str) -> Option<ProcessRef> {
        let id = self.program.names.get(name, |id| self.program.may_live(id))?;
        let process = self.program.process(id)?;
        Some(ProcessRef { program: Arc::clone(&self.program), process })
    }

    /// Does this with a name that holds on all nodes of its program, which began here.
    #[must_use]
    pub fn name(&self, operation: NameOperation, name: &str, id: u64) -> Named {
        self.program.name(operation, name, id)
    }

    /// Takes such names from a process of another node that has died, some at a time; whether it has none any more.
    #[must_use]
    pub fn forget_names(&self, dead: u64) -> bool {
        self.program.forget_names(dead)
    }

    /// The guest with this number in its program.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<ProcessRef> {
        let process = self.program.process(id).filter(|process| process.is_guest())?;
        Some(ProcessRef { program: Arc::clone(&self.program), process })
    }

    /// All guests of its program that live.
    #[must_use]
    pub fn guests(&self) -> Vec<ProcessRef> {
        let all = self.program.all().into_iter().filter(|process| process.is_guest());
        all.map(|process| ProcessRef { program: Arc::clone(&self.program), process }).collect()
    }

    /// Whether its program has ended: then its own end is nothing that those who are linked to it have to be told.
    #[must_use]
    pub fn program_has_ended(&self) -> bool {
        self.program.has_ended()
    }

    /// No process of its program is made from now on.
    pub fn end_program(&self) {
        self.program.end();
    }

    /// Asks the program to become this version: see [`Function::take_over`](crate::Function::take_over).
    #[must_use]
    pub fn ask_upgrade(&self, version: u64) -> UpgradeAnswer {
        self.program.upgrade.ask(version)
    }

    /// What the program reports under names of its own.
    #[must_use]
    pub fn figures(&self) -> Vec<(String, Figure)> {
        self.program.figures.all()
    }

    /// Its program's own standard input and output.
    #[must_use]
    pub fn stdio(&self) -> Option<&Stdio> {
        self.program.stdio.as_deref()
    }

    /// What is known of it.
    #[must_use]
    pub fn info(&self) -> ProcessInfo {
        let (messages, message_bytes) = self.process.queue();
        let (cpu_time, memory_bytes) = self.process.usage();
        ProcessInfo {
            id: self.process.id,
            program: self.program.number,
            function: self.program.name.to_string(),
            version: self.program.version(),
            entry: self.process.entry.clone(),
            messages,
            message_bytes,
            memory_bytes,
            cpu_time,
        }
    }
}

/// What a process's task has beside that of a call.
///
/// What each slice looks at is here, and not behind other pointers: of ten thousand processes that sleep none is in a cache.
pub(super) struct Member {
    pub(super) guest: Arc<Guest>,
    /// The guest's.
    pub(super) process: Arc<Process>,
    /// What it may compute.
    pub(super) cpu: CpuBounds,
    /// One that it makes.
    pub(super) birth: Option<Birth>,
    /// Those that it has made, and has not let go yet.
    held: Vec<Arc<Process>>,
    /// What it has computed since it last waited.
    pub(super) burst: Duration,
    make: Make,
}

/// What a process is to become its driver's: a task, which is above this.
pub(super) type Unborn = Box<dyn Any + Send>;
pub(super) type Making = Pin<Box<dyn Future<Output = Result<Unborn, CallError>> + Send>>;
/// Makes a process of a target: what runs, and with what.
pub(super) type Make = fn(Arc<Target>, Arc<Guest>, Vec<wasmtime::Val>) -> Making;

/// A process that is being made.
pub(super) struct Birth {
    pub(super) link: Option<i64>,
    child: Arc<Process>,
    making: Making,
}

impl Member {
    /// The process goes on with another instance.
    pub(super) fn go_on_as(&mut self, guest: Arc<Guest>) {
        (self.process, self.cpu) = (Arc::clone(&guest.process), guest.cpu());
        (self.guest, self.birth, self.burst) = (guest, None, Duration::ZERO);
    }

    pub(super) fn new(guest: Arc<Guest>, make: Make) -> Self {
        let (process, cpu) = (Arc::clone(&guest.process), guest.cpu());
        Member { guest, process, cpu, birth: None, held: Vec::new(), burst: Duration::ZERO, make }
    }

    pub(super) fn reference(&self, id: u64) -> Option<ProcessRef> {
        let process = self.guest.program.process(id)?;
        Some(ProcessRef { program: Arc::clone(&self.guest.program), process })
    }

    /// Begins to make the process that waits under this number.
    pub(super) fn conceive(&mut self, target: &Arc<Target>, id: u64, link: Option<i64>) -> Result<(), String> {
        let program = &self.guest.program;
        let plan = program.process(id).and_then(|child| Some((child.take_unborn::<Plan>()?, child)));
        let Some((plan, child)) = plan else { return Err("the process is gone".into()) };
        let is_foreign = self.guest.is_foreign || plan.module.is_some();
        let target = match &plan.module {
            Some(module) => {
                Arc::clone(&module.target).downcast::<Target>().map_err(|_| "the module is of another kind")?
            }
            None => Arc::clone(target),
        };
        let brought = plan.module.or_else(|| self.guest.brought.clone());
        let (program, process) = (Arc::clone(program), Arc::clone(&child));
        let guest = Arc::new(Guest { program, process, config: plan.config, is_foreign, brought });
        let making = (self.make)(target, guest, plan.params);
        self.birth = Some(Birth { link, child, making });
        Ok(())
    }

    /// Goes on with making a process; its number once it is made.
    pub(super) fn deliver(&mut self, birth: Birth, made: Result<Unborn, CallError>) -> Result<u64, String> {
        let unborn = made.map_err(|error| error.to_string())?;
        birth.child.set_unborn(unborn);
        let id = birth.child.id;
        self.held.push(birth.child);
        Ok(id)
    }

    /// Lets those go that it has made.
    pub(super) fn let_go(&mut self) {
        for child in self.held.drain(..) {
            child.release();
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let program = &self.guest.program;
        let mut bound = program.mailbox_bytes;
        let message = match signal {
            // Who sends from other nodes is held up when the mailbox is full, but many may have sent by then.
            Signal::Post { tag, bytes } => {
                bound = bound.max(program.account.limit() / 2);
                Message::Data(Data::of(tag, bytes))
            }
            Signal::Message { tag, bytes } => Message::Data(Data::of(tag, bytes)),
            Signal::LinkDied { tag, driver } => {
                driver.inspect(|driver| program.driver_died(*driver));
                Message::LinkDied { tag }
            }
            Signal::ProcessDied { id } => {
                program.process_died(id);
                Message::ProcessDied { id }
            }
        };
        self.guest.process.deliver(message, bound);
    }

    /// Is there room for a message with this tag?
    pub(super) fn room(&self, tag: i64) -> Room {
        self.process.room(tag, WINDOW, self.guest.program.mailbox_bytes)
    }

    /// Why it has to end, whatever it does: it doesn't receive what it is told, or has too many links and monitors.
    pub(super) fn overrun(&self) -> Option<CallError> {
        let (limit, allowed) = self.process.overrun()?;
        Some(CallError::limit(limit, u64::try_from(allowed).unwrap_or(u64::MAX)))
    }
}

impl Birth {
    pub(super) fn making(&mut self) -> Pin<&mut (dyn Future<Output = Result<Unborn, CallError>> + Send)> {
        self.making.as_mut()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.let_go();
        self.guest.program.remove(&self.guest.process);
    }
}
