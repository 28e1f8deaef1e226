//! A program's processes, all driven on one thread in turn: what a VM does with them, as far as the core's tests need it.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

use tidepool_core::{
    Address, CallError, FileRequest, Function, HostReply, HostRequest, ProcessOptions, ProcessRef, ProcessRequest,
    Reply, Signal, Stays, Step, Task,
};

use super::signal::Signal as Woken;
use super::{Outcome, PATIENCE};

/// A process, and how it is linked and watched: by number, with the tag of a link.
struct Driven {
    task: Task,
    woken: Arc<Woken>,
    ready: bool,
    links: HashMap<u64, i64>,
    watchers: Vec<u64>,
    dies_with_links: bool,
    /// When it is to be driven again although nobody wakes it.
    until: Option<std::time::Instant>,
}

/// Makes a function of a module that a process wants compiled.
type Compile = Box<dyn Fn(&[u8]) -> Arc<Function>>;

/// Answers what a process asks of a folder of the host's.
type Files = Box<dyn FnMut(FileRequest) -> HostReply<Vec<u8>>>;

/// A program that runs.
pub(crate) struct Processes {
    driven: HashMap<u64, Driven>,
    /// Numbers of those that are next.
    turns: VecDeque<u64>,
    /// How those ended that have.
    pub(crate) outcomes: HashMap<u64, Outcome>,
    /// What guests sent to processes of the host's.
    pub(crate) sent: Vec<(i64, Vec<u8>)>,
    pub(crate) first: ProcessRef,
    pub(crate) compile: Option<Compile>,
    /// The version that the first process may become.
    pub(crate) newest: Option<Arc<Function>>,
    /// Answers for files of the host's.
    pub(crate) files: Option<Files>,
    /// At one of so many waits each is moved to another instance; at none, when it is 0.
    pub(crate) moving: usize,
    waits: usize,
    /// How often one was, and why one was not.
    pub(crate) moves: usize,
    pub(crate) stays: Vec<Stays>,
}

fn address(id: u64) -> Address {
    Address(NonZeroU64::new(id).unwrap())
}

impl Processes {
    pub(crate) fn start(function: &Arc<Function>, options: ProcessOptions) -> Self {
        let task = function.start_process(options).unwrap();
        let first = task.process_ref().unwrap();
        let mut all = Processes {
            driven: HashMap::new(),
            turns: VecDeque::new(),
            outcomes: HashMap::new(),
            sent: Vec::new(),
            first,
            compile: None,
            newest: None,
            files: None,
            moving: 0,
            waits: 0,
            moves: 0,
            stays: Vec::new(),
        };
        task.set_address(address(1));
        all.add(1, task);
        all
    }

    fn add(&mut self, id: u64, task: Task) {
        let driven = Driven {
            task,
            woken: Arc::new(Woken::default()),
            ready: true,
            links: HashMap::new(),
            watchers: Vec::new(),
            dies_with_links: true,
            until: None,
        };
        self.driven.insert(id, driven);
        self.turns.push_back(id);
    }

    /// Drives all of them until the first has ended; how it did.
    pub(crate) fn run(&mut self) -> Outcome {
        let begun = std::time::Instant::now();
        while !self.outcomes.contains_key(&1) {
            assert!(begun.elapsed() < PATIENCE, "the program goes on");
            if !self.turn() {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
        self.outcomes[&1].clone()
    }

    /// Drives all of them until that holds, before the first has ended.
    pub(crate) fn run_until(&mut self, holds: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE && !self.outcomes.contains_key(&1), "{:?}", self.outcomes);
            self.turn();
        }
    }

    /// Gives each a turn that can go on; whether one could.
    fn turn(&mut self) -> bool {
        let mut ran = false;
        for _turn in 0..self.turns.len() {
            let Some(id) = self.turns.pop_front() else { break };
            let Some(driven) = self.driven.get_mut(&id) else { continue };
            let due = driven.until.is_some_and(|until| until <= std::time::Instant::now());
            if driven.ready || due || driven.woken.is_woken() {
                ran = true;
                self.drive(id);
            }
            if self.driven.contains_key(&id) {
                self.turns.push_back(id);
            }
        }
        ran
    }

    fn drive(&mut self, id: u64) {
        self.waits += 1;
        let moves = self.moving > 0 && self.waits.is_multiple_of(self.moving);
        if let Some(driven) = self.driven.get(&id).filter(|_| moves) {
            driven.task.freeze();
        }
        loop {
            let Some(driven) = self.driven.get_mut(&id) else { return };
            (driven.ready, driven.until) = (false, None);
            driven.woken = Arc::new(Woken::default());
            let woken = Arc::clone(&driven.woken);
            while let Some((_to, tag, bytes)) = driven.task.take_later() {
                self.sent.push((tag, bytes));
            }
            let step = driven.task.drive(|_| woken.waker());
            // What waits for something else than a time or a message moves later.
            self.stays.extend(driven.task.stays().filter(|stays| *stays != Stays::Import));
            match step {
                Step::Done(outcome) => return self.end(id, outcome.map(Reply::into_bytes)),
                Step::Yield => {
                    driven.ready = true;
                    return;
                }
                Step::Wait => {
                    driven.until = Some(std::time::Instant::now() + driven.task.remaining());
                    return;
                }
                Step::Host(HostRequest::Process(request)) => {
                    self.serve(id, request);
                    if let Some(driven) = self.driven.get(&id) {
                        driven.task.answer(Ok(Vec::new()));
                    }
                }
                Step::Host(HostRequest::File(request)) => {
                    let reply = self.files.as_mut().map(|files| files(request)).unwrap();
                    driven.task.answer(reply);
                }
                Step::Host(other) => panic!("{other:?}"),
            }
        }
    }

    fn serve(&mut self, id: u64, request: ProcessRequest) {
        let other = |to: Option<Address>| to.map(|address| address.0.get());
        match request {
            ProcessRequest::Spawn { id: child, link } => {
                let task = self.driven[&id].task.other(child).unwrap().begin(address(child)).unwrap();
                self.add(child, task);
                if let Some(tag) = link {
                    self.link(id, child, tag, 0);
                }
            }
            ProcessRequest::Link { to, tag } => match other(to.address).filter(|to| self.driven.contains_key(to)) {
                Some(to) => self.link(id, to, tag, tag),
                None => self.link_died(id, tag, None),
            },
            ProcessRequest::Unlink { to } => {
                if let Some(to) = other(to.address) {
                    for (one, other) in [(id, to), (to, id)] {
                        self.driven.get_mut(&one).map(|it| it.links.remove(&other));
                    }
                }
            }
            ProcessRequest::DieWhenLinkDies(dies) => self.driven.get_mut(&id).unwrap().dies_with_links = dies,
            ProcessRequest::Monitor { to } => match self.driven.get_mut(&to.id) {
                Some(watched) => watched.watchers.push(id),
                None => self.driven[&id].task.signal(Signal::ProcessDied { id: to.id }),
            },
            ProcessRequest::StopMonitoring { to } => {
                if let Some(watched) = self.driven.get_mut(&to.id) {
                    watched.watchers.retain(|watcher| *watcher != id);
                }
            }
            ProcessRequest::Kill { to } => {
                let killed = CallError::Internal { message: "killed".into() };
                self.driven.get(&to.id).map(|_| ()).into_iter().for_each(|()| self.end(to.id, Err(killed.clone())));
            }
            ProcessRequest::Send { tag, bytes, .. } => self.sent.push((tag, bytes)),
            // There are no other nodes.
            ProcessRequest::Exists { .. } | ProcessRequest::SpawnAway(_) | ProcessRequest::Name(_) => {}
            ProcessRequest::Frozen => self.moves += 1,
            ProcessRequest::Upgrade => {
                let task = &mut self.driven.get_mut(&id).unwrap().task;
                let upgraded = match &self.newest {
                    Some(newest) => newest.take_over(task),
                    None => Err("there is none".into()),
                };
                if let Err(text) = upgraded {
                    task.answer(Err(text.into_bytes()));
                }
            }
            ProcessRequest::Compile { wasm } => {
                if let Some(compile) = &self.compile {
                    let task = &mut self.driven.get_mut(&id).unwrap().task;
                    if let Err(text) = compile(&wasm).give_to(task) {
                        task.answer(Err(text.into_bytes()));
                    }
                }
            }
        }
    }

    fn link(&mut self, one: u64, other: u64, tag: i64, others: i64) {
        self.driven.get_mut(&one).unwrap().links.insert(other, tag);
        self.driven.get_mut(&other).unwrap().links.insert(one, others);
    }

    fn link_died(&mut self, id: u64, tag: i64, driver: Option<Address>) {
        let Some(driven) = self.driven.get_mut(&id) else { return };
        if driven.dies_with_links {
            return self.end(id, Err(CallError::Internal { message: "a link died".into() }));
        }
        driven.task.signal(Signal::LinkDied { tag, driver });
        driven.ready = true;
    }

    fn end(&mut self, id: u64, outcome: Outcome) {
        let Some(driven) = self.driven.remove(&id) else { return };
        let died = outcome.is_err();
        self.outcomes.insert(id, outcome);
        let (links, watchers) = (driven.links.clone(), driven.watchers.clone());
        drop(driven);
        for other in links.into_keys() {
            let tag = self.driven.get_mut(&other).and_then(|other| other.links.remove(&id));
            if let (Some(tag), true) = (tag, died) {
                self.link_died(other, tag, Some(address(id)));
            }
        }
        for watcher in watchers {
            if let Some(watcher) = self.driven.get_mut(&watcher) {
                watcher.task.signal(Signal::ProcessDied { id });
                watcher.ready = true;
            }
        }
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        assert_eq!(self.first.guests().len(), self.driven.len());
        self.driven.len()
    }
}
