//! A guest that leaves its stack while it waits: the host has its frames then, until they are entered again in another instance.
//!
//! The module has a second body for each function that can be left (`rewrite/unwind/`). An import that waits has its guest [`leave`]: that
//! looks at the stack first, and touches nothing if there is a function on it that can't be left, or if it can't be seen whole. When
//! the function has returned that the host has called, all frames are here.

use wasmtime::{AsContextMut, Caller, Func, Ref, TypedFunc, Val, WasmBacktrace};

use crate::base::trap::MAX_STACK_FRAMES;
use crate::rewrite::unwind::{PEEK, POP, PUSH};
use crate::store::data::State;
use crate::store::frames::{Frames, Group, Stack, Stage, Stays, Wait, Waiting, no_frame};

/// Has the guest leave its stack when the import returns that it waits in, whatever that returns: it is called again, with this `wait`,
/// where the guest goes on.
///
/// # Errors
/// Why it stays.
pub(crate) fn leave<A: 'static>(mut store: impl AsContextMut<Data = State<A>>, wait: Wait) -> Result<(), Stays> {
    if store.as_context().data().frames.is_none() {
        return Err(Stays::Fixed);
    }
    let backtrace = WasmBacktrace::force_capture(&store);
    if backtrace.frames().len() >= MAX_STACK_FRAMES {
        return Err(Stays::TooDeep);
    }
    let mut context = store.as_context_mut();
    let State { function, meter, .. } = context.data_mut();
    let whole = function.origin.bodies.frames(backtrace.frames().iter().map(|frame| frame.func_index()));
    let whole = whole.map_err(|function| Stays::Function { function })?;
    let bytes = whole * size_of::<Group>();
    if !meter.hold(bytes) {
        return Err(Stays::NoRoom { bytes });
    }
    let stack = Stack { groups: Vec::with_capacity(whole), whole, wait };
    link(&mut context).and_then(|()| set(&mut context, Stage::Leaves(stack))).map_err(|_error| Stays::Fixed)
}

/// Has a guest enter this stack, in a new instance. What is to be called for that.
///
/// # Errors
/// When its module has no such function, which no stack of it leads to.
pub(crate) fn enter<A: 'static>(mut store: impl AsContextMut<Data = State<A>>, stack: Stack) -> wasmtime::Result<Func> {
    let mut context = store.as_context_mut();
    link(&mut context)?;
    set(&mut context, Stage::Enters(stack))?;
    next(&mut context)?.ok_or_else(no_frame)
}

/// The second body of the frame on top, for an import that calls the guest and is called again; `None` when it is called for the first
/// time.
///
/// # Errors
/// When the frame is none of the module's.
pub(crate) fn entered<A: 'static, R: wasmtime::WasmResults>(
    caller: &mut Caller<'_, State<A>>,
) -> wasmtime::Result<Option<TypedFunc<(), R>>> {
    next(&mut *caller)?.map(|second| second.typed(&mut *caller)).transpose()
}

/// The wait that this import is called again for, whose guest has left its stack in it; `None` when it is called for the first time.
///
/// # Errors
/// When the stack was left in another import, or there are frames left: they are not those of the stack that led here.
pub(crate) fn again<A>(caller: &mut Caller<'_, State<A>>, import: Waiting) -> wasmtime::Result<Option<Wait>> {
    let Some(frames) = &mut caller.data_mut().frames else { return Ok(None) };
    if !matches!(frames.stage, Stage::Enters(_)) {
        return Ok(None);
    }
    match std::mem::replace(&mut frames.stage, Stage::Runs) {
        Stage::Enters(stack) if stack.groups.is_empty() && stack.wait.import == import => Ok(Some(stack.wait)),
        _ => Err(wasmtime::Error::msg("the frames that were entered do not lead to the wait that they were left in")),
    }
}

fn next<A: 'static>(mut store: impl AsContextMut<Data = State<A>>) -> wasmtime::Result<Option<Func>> {
    let mut context = store.as_context_mut();
    let Some(Frames { stage: Stage::Enters(stack), table, .. }) = context.data().frames.as_deref() else {
        return Ok(None);
    };
    let (table, slot) = (*table, stack.top()?);
    match table.get(&mut context, u64::from(slot)) {
        // The host's own functions are no second bodies.
        Some(Ref::Func(Some(second))) if ![PUSH, POP, PEEK].contains(&slot) => Ok(Some(second)),
        _ => Err(no_frame()),
    }
}

/// Goes on to a stage, and tells the guest.
fn set<A: 'static>(mut store: impl AsContextMut<Data = State<A>>, stage: Stage) -> wasmtime::Result<()> {
    let mut context = store.as_context_mut();
    let frames = context.data_mut().frames.as_deref_mut().ok_or_else(no_frame)?;
    let (unwinding, leaves) = (frames.unwinding, matches!(stage, Stage::Leaves(_)));
    frames.stage = stage;
    unwinding.set(&mut context, Val::I32(i32::from(leaves)))
}

/// Puts the functions into the guest's table by which it pushes and pops frames.
fn link<A: 'static>(mut store: impl AsContextMut<Data = State<A>>) -> wasmtime::Result<()> {
    let mut context = store.as_context_mut();
    let frames = context.data_mut().frames.as_deref_mut().ok_or_else(no_frame)?;
    if std::mem::replace(&mut frames.is_linked, true) {
        return Ok(());
    }
    let table = frames.table;
    let push =
        Func::wrap(&mut context, |mut caller: Caller<'_, State<A>>, a: i64, b: i64, c: i64, d: i64| {
            match caller.data_mut().frames.as_deref_mut().map(|frames| &mut frames.stage) {
                Some(Stage::Leaves(stack)) if stack.groups.len() < stack.whole => {
                    stack.groups.push([a, b, c, d]);
                    Ok(())
                }
                _ => Err(wasmtime::Error::msg("the guest leaves more frames than were on its stack")),
            }
        });
    let pop = Func::wrap(&mut context, |mut caller: Caller<'_, State<A>>| {
        let [a, b, c, d] = stack(&mut caller)?.groups.pop().ok_or_else(no_frame)?;
        wasmtime::Result::Ok((a, b, c, d))
    });
    let peek = Func::wrap(&mut context, |mut caller: Caller<'_, State<A>>| stack(&mut caller)?.top());
    for (slot, function) in [(PUSH, push), (POP, pop), (PEEK, peek)] {
        table.set(&mut context, u64::from(slot), Ref::Func(Some(function)))?;
    }
    Ok(())
}

fn stack<'a, A>(caller: &'a mut Caller<'_, State<A>>) -> wasmtime::Result<&'a mut Stack> {
    caller.data_mut().frames.as_deref_mut().ok_or_else(no_frame)?.entered()
}
