//! A session: runs of a recording, to where each command says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::code::Code;
use super::command::{Command, HELP, Where};
use super::error::DebugError;
use super::watch::{Answer, Ask, Beginning, Go, Stop, Watch, Why};
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::call::drive::Step;
use crate::call::task::Task;
use crate::function::handle::Function;
use crate::recording::Recording;

/// Instructions that are listed before and after the one that a guest stands at.
const AROUND: usize = 5;
/// How often a guest that goes on may be stopped.
const TICK: Duration = Duration::from_millis(10);
/// How often what waits looks by itself.
const LOOK: Duration = Duration::from_millis(100);

/// What a command came to.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    /// What there is to say.
    pub lines: Vec<String>,
    /// What the call came to, where this command has led to its end: the report of a replay.
    pub report: Option<Value>,
    /// Whether the session is over.
    pub quits: bool,
}

/// A session of a debugger, with one recording.
///
/// It is told what to do by lines of text ([`Debugger::command`]; `help` lists them), and blocks until that is done.
pub struct Debugger {
    function: Arc<Function>,
    recording: Bytes,
    module: wasmtime::Module,
    code: Arc<Code>,
    breakpoints: BTreeMap<u32, Breakpoint>,
    next_breakpoint: u32,
    /// How the run that there is has come to where it stands: each run that goes on like this comes there.
    history: Vec<Go>,
    run: Option<Run>,
    _ticker: Ticker,
}

/// Has a guest that goes on for long be looked after, as that of a node is.
struct Ticker {
    _over: mpsc::Sender<()>,
}

struct Breakpoint {
    text: String,
    /// In the compiled module.
    places: Vec<u32>,
}

/// A run of the recording.
struct Run {
    /// `None` once it is over.
    task: Option<Task>,
    watch: Arc<Watch>,
}

/// Where a run has come to.
enum Came {
    Stopped(Stop),
    Over(Value),
}

impl Debugger {
    /// Debugs a recording of `function`, whose module was compiled for that, of `wasm` as it was deployed.
    ///
    /// # Errors
    /// [`DebugError::Unsuited`] when it is not such a function, or not such a recording.
    pub fn new(function: Arc<Function>, recording: Bytes, wasm: &[u8]) -> Result<Self, DebugError> {
        let unsuited = |text: String| DebugError::Unsuited(text);
        Recording::read(recording.clone()).map_err(|damaged| unsuited(damaged.to_string()))?;
        let compiled = function.module();
        let module = compiled.as_module().ok_or_else(|| unsuited("its function is a component".into()))?.clone();
        let bytes = module.debug_bytecode().ok_or_else(|| unsuited("its module was not compiled for that".into()))?;
        let code = Code::of(bytes, wasm, &compiled.origin, compiled.symbols.lines.clone());
        let code = Arc::new(code.map_err(|error| unsuited(error.to_string()))?);
        let ticker = Ticker::of(module.engine().clone()).map_err(|error| unsuited(error.to_string()))?;
        Ok(Debugger {
            function,
            recording,
            module,
            code,
            breakpoints: BTreeMap::new(),
            next_breakpoint: 1,
            history: Vec::new(),
            run: None,
            _ticker: ticker,
        })
    }

    /// Does what a line says.
    ///
    /// # Errors
    /// [`DebugError`] when it makes no sense, or not here. Nothing has changed then, but for [`DebugError::Unlike`], after which the
    /// guest runs no more.
    pub fn command(&mut self, line: &str) -> Result<Told, DebugError> {
        match line.parse()? {
            Command::Break(wanted) => self.set_breakpoint(&wanted),
            Command::Breakpoints => Ok(self.list_breakpoints()),
            Command::Delete(number) => {
                self.breakpoints.remove(&number).ok_or(DebugError::NoBreakpoint(number))?;
                Ok(Told::default())
            }
            Command::Run => {
                self.end_run();
                self.go(self.on())
            }
            Command::Continue => self.go(self.on()),
            Command::Step => self.go(Go::Line),
            Command::StepInstructions(count) => self.go(Go::Instructions(count)),
            Command::Back => self.back(),
            Command::Backtrace => self.backtrace(),
            Command::Locals(frame) => self.look(Ask::Locals(frame)),
            Command::Memory { address, length } => self.look(Ask::Memory { address, length }),
            Command::List => {
                let stop = self.standing()?;
                Ok(Told { lines: self.told(&stop, true), ..Told::default() })
            }
            Command::Help => Ok(Told { lines: HELP.map(Into::into).to_vec(), ..Told::default() }),
            Command::Quit => {
                self.end_run();
                Ok(Told { quits: true, ..Told::default() })
            }
        }
    }

    fn set_breakpoint(&mut self, wanted: &Where) -> Result<Told, DebugError> {
        let (text, places) = self.code.find(wanted)?;
        let number = self.next_breakpoint;
        self.next_breakpoint += 1;
        let line = format!("breakpoint {number}: {text}");
        self.breakpoints.insert(number, Breakpoint { text, places });
        Ok(Told { lines: vec![line], ..Told::default() })
    }

    fn list_breakpoints(&self) -> Told {
        let mut lines: Vec<String> =
            self.breakpoints.iter().map(|(number, breakpoint)| format!("{number}: {}", breakpoint.text)).collect();
        if lines.is_empty() {
            lines.push("no breakpoints".into());
        }
        Told { lines, ..Told::default() }
    }

    /// To the next breakpoint.
    fn on(&self) -> Go {
        let places: BTreeSet<u32> = self.breakpoints.values().flat_map(|it| it.places.iter().copied()).collect();
        Go::On(Arc::new(places))
    }

    /// Goes on, and notes that it did.
    fn go(&mut self, go: Go) -> Result<Told, DebugError> {
        if self.run.as_ref().is_some_and(|run| run.task.is_none()) {
            return Err(DebugError::Over);
        }
        let came = self.advance(go.clone(), false)?;
        self.history.push(go);
        Ok(self.came(came))
    }

    /// Goes back to where the line before began, or to where the guest stood before where that is later.
    fn back(&mut self) -> Result<Told, DebugError> {
        let stood = self.run.as_ref().map(|run| run.watch.stop());
        let last = self.history.pop().ok_or(DebugError::AtBeginning)?;
        self.repeat()?;
        // All the way from there again, to see which lines begin on it.
        let again = self.advance(last, true)?;
        let stands = match &again {
            Came::Stopped(stop) => Some(stop.clone()),
            Came::Over(_) => None,
        };
        if stood.is_some_and(|stood| stood != stands) {
            self.end_run();
            let place = stands.and_then(|stop| stop.place).map_or("its end".into(), |place| self.code.told(&place));
            return Err(DebugError::Unlike(place));
        }
        let began = self.run.as_ref().and_then(|run| run.watch.began());
        self.repeat()?;
        match began {
            Some(count) => self.go(Go::Instructions(count)),
            None => match self.run.as_ref().and_then(|run| run.watch.stop()) {
                Some(stop) => Ok(Told { lines: self.told(&stop, false), ..Told::default() }),
                None => Ok(Told { lines: vec!["at the beginning: nothing has run".into()], ..Told::default() }),
            },
        }
    }

    /// Begins anew, and goes on as the history says.
    fn repeat(&mut self) -> Result<(), DebugError> {
        let history = std::mem::take(&mut self.history);
        self.end_run();
        for go in &history {
            if let Came::Over(_) = self.advance(go.clone(), false)? {
                self.end_run();
                return Err(DebugError::Unlike("its end".into()));
            }
        }
        self.history = history;
        Ok(())
    }

    fn end_run(&mut self) {
        self.run = None;
        self.history.clear();
    }

    /// Goes on in the run that there is, or begins one.
    fn advance(&mut self, go: Go, traced: bool) -> Result<Came, DebugError> {
        match &self.run {
            Some(run) => run.watch.ask(Ask::Go(go, traced)),
            None => {
                let watch = Watch::new(self.module.clone(), &self.code, go, traced);
                let recording = Recording::read(self.recording.clone());
                let recording = recording.map_err(|damaged| DebugError::Unsuited(damaged.to_string()))?;
                let beginning = Arc::new(Beginning(Arc::clone(&watch)));
                self.run = Some(Run { task: Some(self.function.watched(recording, beginning)), watch });
            }
        }
        let Some(run) = &mut self.run else { return Err(DebugError::NotRunning) };
        let came = run.drive();
        if came.is_err() {
            self.end_run();
        }
        came
    }

    /// What there is to say of where a run has come to.
    fn came(&self, came: Came) -> Told {
        match came {
            Came::Stopped(stop) => Told { lines: self.told(&stop, false), ..Told::default() },
            Came::Over(report) => Told { lines: vec!["the call is over".into()], report: Some(report), quits: false },
        }
    }

    fn told(&self, stop: &Stop, with_code: bool) -> Vec<String> {
        let place = stop.place.map_or_else(|| "code that was added to the module".into(), |it| self.code.told(&it));
        let mut lines = vec![match (&stop.why, self.breakpoint_at(stop)) {
            (Why::Trap(trap), _) => format!("about to fail in {place}: {trap}"),
            (Why::There, Some(number)) => format!("breakpoint {number}: in {place}"),
            (Why::There, None) => format!("in {place}"),
        }];
        if let Some(place) = stop.place.filter(|_| with_code) {
            lines.extend(self.code.listed(&place, AROUND));
        }
        lines
    }

    fn breakpoint_at(&self, stop: &Stop) -> Option<u32> {
        let pc = stop.place?.pc;
        self.breakpoints.iter().find(|(_, breakpoint)| breakpoint.places.contains(&pc)).map(|(number, _)| *number)
    }

    /// Where the guest stands.
    fn standing(&self) -> Result<Stop, DebugError> {
        let run = self.run.as_ref().ok_or(DebugError::NotRunning)?;
        if run.task.is_none() {
            return Err(DebugError::Over);
        }
        run.watch.stop().ok_or(DebugError::NotRunning)
    }

    fn backtrace(&mut self) -> Result<Told, DebugError> {
        let Answer::Frames(frames) = self.asked(Ask::Backtrace)? else { return Err(DebugError::NotRunning) };
        let line = |(number, frame): (usize, super::frames::Frame)| {
            let place = frame.place.map_or_else(|| self.code.name(frame.function), |place| self.code.told(&place));
            format!("{number}: {place}")
        };
        Ok(Told { lines: frames.into_iter().enumerate().map(line).collect(), ..Told::default() })
    }

    fn look(&mut self, ask: Ask) -> Result<Told, DebugError> {
        match self.asked(ask)? {
            Answer::Lines(lines) => Ok(Told { lines, ..Told::default() }),
            Answer::Frames(_) => Err(DebugError::NotRunning),
        }
    }

    /// Asks the guest, which stands.
    fn asked(&mut self, ask: Ask) -> Result<Answer, DebugError> {
        self.standing()?;
        let run = self.run.as_mut().ok_or(DebugError::NotRunning)?;
        run.watch.ask(ask);
        run.drive()?;
        run.watch.answer().ok_or(DebugError::NotRunning)?
    }
}

impl Ticker {
    fn of(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let (over, is_over) = mpsc::channel();
        let tick = move || {
            while is_over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        };
        std::thread::Builder::new().name("tidepool-debug".into()).spawn(tick)?;
        Ok(Ticker { _over: over })
    }
}

impl Run {
    /// Drives the guest until it stands, or is over.
    fn drive(&mut self) -> Result<Came, DebugError> {
        let task = self.task.as_mut().ok_or(DebugError::Over)?;
        let signal = Arc::new(Signal::default());
        loop {
            let step = task.drive(|_io| Waker::from(Arc::clone(&signal)));
            match (step, self.watch.stop()) {
                (Step::Done(outcome), _) => {
                    self.task = None;
                    return report(outcome).map(Came::Over);
                }
                (Step::Host(_), _) => return Err(DebugError::Unlike("the guest asks the host".into())),
                (Step::Yield | Step::Wait, Some(stop)) => return Ok(Came::Stopped(stop)),
                (Step::Yield, None) => {}
                (Step::Wait, None) => signal.wait(),
            }
        }
    }
}

/// The report of a replay. One that was stopped by a limit of time has none.
fn report(outcome: Result<Reply, CallError>) -> Result<Value, DebugError> {
    let bytes = outcome.map_err(|error| DebugError::Stopped(error.to_string()))?.into_bytes();
    serde_json::from_slice(&bytes).map_err(|error| DebugError::Unsuited(error.to_string()))
}

/// Wakes who drives a guest.
#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn wait(&self) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(woken, LOOK, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}
