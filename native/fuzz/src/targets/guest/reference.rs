//! What a module does under an interpreter, with a host of waPC that is written a second time.

use tidepool_core::HostCall;
use tidepool_core::trap::TrapKind;
use wasmi::{Caller, Engine, Extern, Instance, Linker, Memory, Module, Store, TrapCode, TypedFunc};

use super::ending::{End, host};

/// Longest name of a host call.
const MAX_NAME_BYTES: usize = 4 << 10;
const STARTS: [&str; 3] = ["_initialize", "_start", "wapc_init"];

/// An instance, and its `__guest_call`.
type Running = (Store<State>, TypedFunc<(i32, i32), i32>);

/// A module, and the instance that is called next.
pub(super) struct Reference {
    engine: Engine,
    module: Module,
    running: Option<Running>,
}

/// What the host knows of a call.
#[derive(Default)]
struct State {
    starting: bool,
    operation: Vec<u8>,
    payload: Vec<u8>,
    reply: Option<Vec<u8>>,
    error: Option<Vec<u8>>,
    host_reply: Option<Result<Vec<u8>, Vec<u8>>>,
    host_calls: Vec<HostCall>,
}

/// Why the host stops a guest.
#[derive(Debug)]
enum Stop {
    BadPointer,
    /// Something in which hosts may differ.
    Unlike,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl wasmi::errors::HostError for Stop {}

impl Reference {
    /// `None` when the interpreter does not take the module.
    pub(super) fn new(wasm: &[u8]) -> Option<Self> {
        let engine = Engine::default();
        let module = Module::new(&engine, wasm).ok()?;
        Some(Reference { engine, module, running: None })
    }

    /// Calls the module, in the instance of the call before if that is there and `warm`.
    pub(super) fn call(&mut self, operation: &[u8], payload: &[u8], warm: bool) -> (End, Vec<HostCall>) {
        let (mut store, call) = match self.running.take().filter(|_| warm) {
            Some(running) => running,
            None => match self.start() {
                Ok(running) => running,
                // The host is not called before.
                Err(error) => return (end(&error), Vec::new()),
            },
        };
        *store.data_mut() =
            State { operation: operation.to_vec(), payload: payload.to_vec(), ..std::mem::take(store.data_mut()) };
        let lengths = (length(operation), length(payload));
        let outcome = call.call(&mut store, lengths);
        let state = store.data_mut();
        let host_calls = std::mem::take(&mut state.host_calls);
        let (reply, error) = (state.reply.take(), state.error.take());
        state.host_reply = None;
        let end = match outcome {
            Err(error) => return (end(&error), host_calls),
            Ok(code) => match (code, reply, error) {
                (1, Some(reply), _) => End::Reply(reply),
                (1, None, None) => End::Reply(Vec::new()),
                (_, _, Some(text)) => End::Refusal(String::from_utf8_lossy(&text).into_owned()),
                (code, _, None) => End::Refusal(format!("the guest returned {code} instead of 1, and no error text")),
            },
        };
        self.running = Some((store, call));
        (end, host_calls)
    }

    fn start(&self) -> Result<Running, wasmi::Error> {
        let mut store = Store::new(&self.engine, State { starting: true, ..State::default() });
        let instance: Instance = linker(&self.engine)?.instantiate_and_start(&mut store, &self.module)?;
        for start in STARTS {
            if let Ok(start) = instance.get_typed_func::<(), ()>(&store, start) {
                start.call(&mut store, ())?;
            }
        }
        let call = instance.get_typed_func(&store, "__guest_call")?;
        *store.data_mut() = State::default();
        Ok((store, call))
    }
}

fn end(error: &wasmi::Error) -> End {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop {
            Stop::BadPointer => End::Trap(TrapKind::BadPointer),
            Stop::Unlike => End::Unlike,
        };
    }
    End::Trap(match error.as_trap_code() {
        Some(TrapCode::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(TrapCode::MemoryOutOfBounds) => TrapKind::MemoryOutOfBounds,
        Some(TrapCode::TableOutOfBounds) => TrapKind::TableOutOfBounds,
        Some(TrapCode::IndirectCallToNull) => TrapKind::IndirectCallToNull,
        Some(TrapCode::IntegerDivisionByZero) => TrapKind::IntegerDivisionByZero,
        Some(TrapCode::IntegerOverflow) => TrapKind::IntegerOverflow,
        Some(TrapCode::BadConversionToInteger) => TrapKind::BadConversionToInteger,
        Some(TrapCode::BadSignature) => TrapKind::BadSignature,
        // Each has its own stack.
        _ => return End::Unlike,
    })
}

fn length(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

type Context<'a> = Caller<'a, State>;

fn linker(engine: &Engine) -> Result<Linker<State>, wasmi::Error> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("wapc", "__guest_request", |mut caller: Context<'_>, operation: i32, payload: i32| {
            let bytes = (caller.data().operation.clone(), caller.data().payload.clone());
            write(&mut caller, operation, &bytes.0)?;
            write(&mut caller, payload, &bytes.1)
        })?
        .func_wrap("wapc", "__guest_response", |mut caller: Context<'_>, ptr: i32, len: i32| {
            let reply = read(&caller, ptr, len)?;
            caller.data_mut().reply = Some(reply);
            Ok::<_, wasmi::Error>(())
        })?
        .func_wrap("wapc", "__guest_error", |mut caller: Context<'_>, ptr: i32, len: i32| {
            let mut text = read(&caller, ptr, len)?;
            text.truncate(64 << 10);
            caller.data_mut().error = Some(text);
            Ok::<_, wasmi::Error>(())
        })?
        .func_wrap("wapc", "__host_call", host_call)?
        .func_wrap("wapc", "__host_response_len", |caller: Context<'_>| match &caller.data().host_reply {
            Some(Ok(reply)) => length(reply),
            _ => 0,
        })?
        .func_wrap("wapc", "__host_error_len", |caller: Context<'_>| match &caller.data().host_reply {
            Some(Err(text)) => length(text),
            _ => 0,
        })?
        .func_wrap("wapc", "__host_response", |mut caller: Context<'_>, ptr: i32| {
            let reply = caller.data().host_reply.clone();
            write(&mut caller, ptr, &reply.and_then(Result::ok).unwrap_or_default())
        })?
        .func_wrap("wapc", "__host_error", |mut caller: Context<'_>, ptr: i32| {
            let reply = caller.data().host_reply.clone();
            write(&mut caller, ptr, &reply.and_then(Result::err).unwrap_or_default())
        })?
        .func_wrap("wapc", "__console_log", |caller: Context<'_>, ptr: i32, len: i32| {
            read(&caller, ptr, len).map(|_line| ())
        })?;
    Ok(linker)
}

#[allow(clippy::too_many_arguments, reason = "the protocol has eight")]
fn host_call(
    mut caller: Context<'_>,
    binding: i32,
    binding_len: i32,
    namespace: i32,
    namespace_len: i32,
    operation: i32,
    operation_len: i32,
    payload: i32,
    payload_len: i32,
) -> Result<i32, wasmi::Error> {
    let names = [(binding, binding_len), (namespace, namespace_len), (operation, operation_len)];
    if names.iter().any(|(_, len)| len.cast_unsigned() as usize > MAX_NAME_BYTES) {
        return Err(wasmi::Error::host(Stop::Unlike));
    }
    let request = HostCall {
        binding: read(&caller, binding, binding_len)?.into(),
        namespace: read(&caller, namespace, namespace_len)?.into(),
        operation: read(&caller, operation, operation_len)?.into(),
        payload: read(&caller, payload, payload_len)?,
    };
    let state = caller.data_mut();
    let reply = if state.starting {
        Err(b"the host can't be called while the guest starts".to_vec())
    } else {
        let reply = host(&request);
        state.host_calls.push(request);
        reply
    };
    let code = i32::from(reply.is_ok());
    state.host_reply = Some(reply);
    Ok(code)
}

fn memory(caller: &Context<'_>) -> Result<Memory, wasmi::Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| wasmi::Error::host(Stop::Unlike))
}

fn read(caller: &Context<'_>, ptr: i32, len: i32) -> Result<Vec<u8>, wasmi::Error> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let (start, len) = (ptr.cast_unsigned() as usize, len.cast_unsigned() as usize);
    let memory = memory(caller)?;
    let bytes = memory.data(caller).get(start..start + len);
    bytes.map(<[u8]>::to_vec).ok_or_else(|| wasmi::Error::host(Stop::BadPointer))
}

fn write(caller: &mut Context<'_>, ptr: i32, bytes: &[u8]) -> Result<(), wasmi::Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    let memory = memory(caller)?;
    memory.write(caller, ptr.cast_unsigned() as usize, bytes).map_err(|_| wasmi::Error::host(Stop::BadPointer))
}
