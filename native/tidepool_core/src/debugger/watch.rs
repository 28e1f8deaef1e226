//! Holds a guest where it is to stop, and asks it there for what it has.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use wasmtime::{AsContextMut, BreakpointEdit, DebugEvent, DebugHandler, ModulePC, Store, StoreContextMut};

use super::code::{Code, Line, Place};
use super::error::DebugError;
use super::frames::{self, Frame};
use crate::abi::slots::State;
use crate::instance::watch;

/// How a guest goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Go {
    /// To the first of these places in the compiled module, or to a trap.
    On(Arc<BTreeSet<u32>>),
    /// To another line, or to a trap.
    Line,
    /// So many instructions, or to a trap.
    Instructions(u64),
}

/// Why it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It has gone as far as it was to go.
    There,
    /// It is about to fail, of this.
    Trap(String),
}

/// Where a guest stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) why: Why,
    /// `None` where it stands in what is none of its author's.
    pub(super) place: Option<Place>,
}

/// What a guest that stands is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Go(Go, bool),
    Backtrace,
    /// Those of the frame with this number.
    Locals(usize),
    Memory {
        address: u64,
        length: usize,
    },
}

/// What it says.
#[derive(Debug)]
pub(super) enum Answer {
    Frames(Vec<Frame>),
    Lines(Vec<String>),
}

/// The watch over one run.
pub(super) struct Watch {
    module: wasmtime::Module,
    code: Arc<Code>,
    state: Mutex<Watched>,
}

struct Watched {
    go: Go,
    /// Whether all instructions on the way are looked at, for the lines that begin there.
    traced: bool,
    /// Places in the instance's code at which it stops by itself.
    set: BTreeSet<u32>,
    /// Instructions since it last went on.
    instructions: u64,
    /// The line that it was at then, and the one that it was at last.
    from: Option<Line>,
    last: Option<Line>,
    /// The instruction with which the line before this one began, of those since it last went on.
    began: Option<u64>,
    stop: Option<Stop>,
    ask: Option<Ask>,
    answer: Option<Result<Answer, DebugError>>,
}

#[derive(Clone)]
struct Handler(Arc<Watch>);

/// Begins with each instance of the run.
pub(super) struct Beginning(pub(super) Arc<Watch>);

impl watch::Watch for Beginning {
    fn begin(&self, store: &mut Store<State>) {
        store.set_debug_handler(Handler(Arc::clone(&self.0)));
        let mut watched = self.0.state();
        watched.set.clear();
        if let Some(mut edit) = store.edit_breakpoints() {
            watched.apply(&mut edit, &self.0.module);
        }
    }
}

impl DebugHandler for Handler {
    type Data = State;

    fn handle(&self, mut store: StoreContextMut<'_, State>, event: DebugEvent<'_>) -> impl Future<Output = ()> + Send {
        let stands = self.0.stands(&mut store, &event);
        let watch = Arc::clone(&self.0);
        async move {
            if stands {
                std::future::poll_fn(|_context| watch.serve(&mut store)).await;
            }
        }
    }
}

impl Watch {
    /// That of a run which goes on like this from its beginning.
    pub(super) fn new(module: wasmtime::Module, code: &Arc<Code>, go: Go, traced: bool) -> Arc<Self> {
        let watched = Watched {
            go,
            traced,
            set: BTreeSet::new(),
            instructions: 0,
            from: None,
            last: None,
            began: None,
            stop: None,
            ask: None,
            answer: None,
        };
        Arc::new(Watch { module, code: Arc::clone(code), state: Mutex::new(watched) })
    }

    /// Where the guest stands, if it does and has nothing to do there.
    pub(super) fn stop(&self) -> Option<Stop> {
        let watched = self.state();
        watched.stop.clone().filter(|_| watched.ask.is_none())
    }

    /// The instruction with which the line before this one began, of those since the guest last went on and was traced.
    pub(super) fn began(&self) -> Option<u64> {
        self.state().began
    }

    /// Asks the guest, which answers when it is driven.
    pub(super) fn ask(&self, ask: Ask) {
        let mut watched = self.state();
        watched.ask = Some(ask);
        watched.answer = None;
    }

    pub(super) fn answer(&self) -> Option<Result<Answer, DebugError>> {
        self.state().answer.take()
    }

    fn state(&self) -> MutexGuard<'_, Watched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what happens. Is the guest to stand here?
    fn stands(&self, store: &mut StoreContextMut<'_, State>, event: &DebugEvent<'_>) -> bool {
        let why = match event {
            DebugEvent::Breakpoint => Why::There,
            DebugEvent::Trap(trap) => Why::Trap(trap.to_string()),
            _ => return false,
        };
        let place = match why {
            Why::There => frames::innermost(store).and_then(|pc| self.code.at(pc)).copied(),
            // It may be in what was added to the module, for an instruction that its author knows.
            Why::Trap(_) => frames::all(store, &self.code).first().and_then(|frame| frame.place),
        };
        let mut watched = self.state();
        let stands = match (&why, place) {
            (Why::There, Some(place)) => watched.passes(&place),
            // In what was added to the module.
            (Why::There, None) => false,
            (Why::Trap(_), _) => true,
        };
        if stands {
            watched.stop = Some(Stop { why, place });
        }
        stands
    }

    /// Answers what is asked of a guest that stands, until it is to go on.
    fn serve(&self, store: &mut StoreContextMut<'_, State>) -> Poll<()> {
        let Some(ask) = self.state().ask.take() else { return Poll::Pending };
        let answer = match ask {
            Ask::Go(go, traced) => {
                let mut watched = self.state();
                watched.go_on(go, traced);
                if let Some(mut edit) = store.as_context_mut().edit_breakpoints() {
                    watched.apply(&mut edit, &self.module);
                }
                return Poll::Ready(());
            }
            Ask::Backtrace => Ok(Answer::Frames(frames::all(store, &self.code))),
            Ask::Locals(frame) => frames::locals(store, &self.code, frame).map(Answer::Lines),
            Ask::Memory { address, length } => frames::memory(store, address, length).map(Answer::Lines),
        };
        self.state().answer = Some(answer);
        Poll::Pending
    }
}

impl Watched {
    fn go_on(&mut self, go: Go, traced: bool) {
        let line = self.stop.take().and_then(|stop| stop.place).and_then(|place| place.line);
        (self.go, self.traced) = (go, traced);
        (self.instructions, self.began) = (0, None);
        self.from = line.or(self.last);
        self.last = self.from;
    }

    /// Passes an instruction. Is it where the guest is to stand?
    fn passes(&mut self, place: &Place) -> bool {
        self.instructions += 1;
        let stands = match &self.go {
            Go::On(places) => places.contains(&place.pc),
            Go::Line => place.line.is_some() && place.line != self.from,
            Go::Instructions(count) => self.instructions >= *count,
        };
        if place.line.is_some() && place.line != self.last {
            if !stands {
                self.began = Some(self.instructions);
            }
            self.last = place.line;
        }
        stands
    }

    /// Has the code of an instance stop where it is to.
    fn apply(&mut self, edit: &mut BreakpointEdit<'_>, module: &wasmtime::Module) {
        let wanted = match &self.go {
            Go::On(places) if !self.traced => BTreeSet::clone(places),
            _ => BTreeSet::new(),
        };
        // What can't be set is a module of another engine, which this one is not.
        for gone in self.set.difference(&wanted) {
            let _ = edit.remove_breakpoint(module, ModulePC::new(*gone));
        }
        for new in wanted.difference(&self.set) {
            let _ = edit.add_breakpoint(module, ModulePC::new(*new));
        }
        let _ = edit.single_step(self.traced || !matches!(self.go, Go::On(_)));
        self.set = wanted;
    }
}
