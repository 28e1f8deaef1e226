//! Why a guest was stopped, in terms of its author.

use wasmtime::{AsContext, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::origin::Origin;
use crate::base::trap::{Frame, MAX_FRAMES, Symbols, TrapKind, readable};
use crate::dense::SlabError;
use crate::rewrite::stack_pointer;
use crate::store::data::State;

/// What is said of a guest that has run out of the stack in its memory.
const OWN_STACK: &str = "the guest used up the stack in its memory: it calls itself too deeply, or its build has to give it a \
                         larger one (the linker's -z stack-size=BYTES)";

/// Why the guest was stopped. Its instance is spent: the data of its ABI are dropped.
pub(crate) fn call_error<A: Default>(store: &mut Store<State<A>>, error: &wasmtime::Error) -> CallError {
    let instance = store.data().instance;
    let ran_out = stack_pointer::ran_out(&mut *store, instance);
    let state = store.data_mut();
    let frames = frames(error, &state.function.origin, &state.function.symbols);
    // Dropping them prints a line that the guest has not ended.
    state.abi = A::default();
    let console = state.tail.as_ref().map_or_else(Vec::new, |tail| tail.lines());
    match state.failure.take() {
        Some(CallError::Trap { kind: TrapKind::BadPointer, .. }) if ran_out => {
            return CallError::Trap { kind: TrapKind::StackOverflow, message: OWN_STACK.into(), frames, console };
        }
        Some(CallError::Trap { kind, message, .. }) => return CallError::Trap { kind, message, frames, console },
        Some(CallError::Limit { limit, allowed, .. }) => return CallError::Limit { limit, allowed, frames, console },
        Some(failure) => return failure,
        None => {}
    }
    let mut trap = error.downcast_ref::<Trap>().copied();
    let ran_out = ran_out && trap == Some(Trap::MemoryOutOfBounds);
    if ran_out {
        trap = Some(Trap::StackOverflow);
    }
    // A guest that was refused memory mostly aborts: the refusal tells its author more than the trap.
    if let (Some(limit), true) = (state.meter.denied.take(), trap != Some(Trap::StackOverflow)) {
        let limits = &state.function.limits;
        let allowed = match limit {
            Limit::Table => u64::from(limits.table_elements),
            Limit::TotalMemory => state.function.total_memory_bytes(),
            _ => state.meter.memory_bytes(),
        };
        return CallError::Limit { limit, allowed, frames, console };
    }
    if let Some(trap) = trap {
        let message = if ran_out { OWN_STACK.into() } else { trap.to_string() };
        return CallError::Trap { kind: trap.into(), message, frames, console };
    }
    if let Some(code) = exit_code(error) {
        let message = format!("the guest exited with code {code}");
        return CallError::Trap { kind: TrapKind::Exit, message, frames, console };
    }
    if is_full(error) {
        return CallError::Overloaded { message: format!("{error:#}") };
    }
    CallError::Trap { kind: TrapKind::Other, message: root_cause(error), frames, console }
}

/// Was there no room on the node for what the guest needed? It is not to blame for that.
pub(crate) fn is_full(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::PoolConcurrencyLimitError>() || SlabError::is(error)
}

/// The innermost text: the outer ones hold the backtrace, which is told in frames.
fn root_cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// The exit code of a command that says that it failed, and no number.
const FAILED: i32 = 1;

/// The exit code of a program, by what it returned: an error of its own has no number.
///
/// # Errors
/// What stopped it otherwise.
pub(crate) fn ended(returned: wasmtime::Result<Result<(), ()>>) -> wasmtime::Result<i32> {
    match returned {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(FAILED),
        Err(error) => exit_code(&error).ok_or(error),
    }
}

/// The code with which the guest exited, when that is what `error` says.
pub(crate) fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

/// The frames that an engine error carries, innermost first, as the author of the module knows them; empty where it carries
/// none. `origin` is that of the module whose code ran.
fn frames(error: &wasmtime::Error, origin: &Origin, symbols: &Symbols) -> Vec<Frame> {
    error.downcast_ref::<WasmBacktrace>().map_or_else(Vec::new, |backtrace| framed(backtrace, origin, symbols))
}

/// Where a guest is that has called its host, or yields: innermost first. On the guest's stack.
pub(crate) fn stack<A: 'static>(store: impl AsContext<Data = State<A>>) -> Vec<Frame> {
    let backtrace = WasmBacktrace::capture(&store);
    let function = &store.as_context().data().function;
    framed(&backtrace, &function.origin, &function.symbols)
}

fn framed(backtrace: &WasmBacktrace, origin: &Origin, symbols: &Symbols) -> Vec<Frame> {
    backtrace
        .frames()
        .iter()
        .take(MAX_FRAMES)
        .filter_map(|frame| {
            let index = origin.own(frame.func_index())?;
            // Of code that was added, which in a component has an index as others of its modules have.
            let offset = match frame.module_offset() {
                Some(offset) => Some(origin.deployed(offset)?),
                None => None,
            };
            Some(Frame {
                index,
                name: frame.func_name().map(readable).or_else(|| symbols.name(index)),
                offset: offset.map(|offset| symbols.place(offset)),
                lines: symbols.lines.clone(),
            })
        })
        .collect()
}
