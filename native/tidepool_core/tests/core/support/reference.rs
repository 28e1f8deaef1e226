//! The host of the `wapc` crate, over the wasmi interpreter: what the protocol means when somebody else reads it.

use std::cell::RefCell;
use std::error::Error;
use std::sync::{Arc, Mutex, Once};

use tidepool_core::{HostCall, HostReply};
use wapc::errors::Error as WapcError;
use wapc::{HOST_NAMESPACE, ModuleState, WapcHost, WebAssemblyEngineProvider};
use wasmi::{Caller, Engine, Extern, Instance, Linker, Memory, Module, Store};

type Failure = Box<dyn Error + Send + Sync>;
type Context<'a> = Caller<'a, Arc<ModuleState>>;

/// How a call ended, in terms that both hosts have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Reply(Vec<u8>),
    /// The guest's own error.
    Refusal(String),
    /// The guest was stopped: a trap, or pointers that lie.
    Stopped,
}

/// All that a call did: its end, the host calls that it made and the lines that it logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) ending: Ending,
    pub(crate) host_calls: Vec<HostCall>,
    pub(crate) lines: Vec<String>,
}

/// One instance of a guest under the `wapc` crate's host.
pub(crate) struct Reference {
    host: WapcHost,
    host_calls: Arc<Mutex<Vec<HostCall>>>,
}

impl Reference {
    pub(crate) fn new(wasm: &[u8], answer: impl Fn(&HostCall) -> HostReply<Vec<u8>> + Send + Sync + 'static) -> Self {
        let host_calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&host_calls);
        let callback = move |_id: u64, binding: &str, namespace: &str, operation: &str, payload: &[u8]| {
            let request = HostCall {
                binding: binding.as_bytes().into(),
                namespace: namespace.as_bytes().into(),
                operation: operation.as_bytes().into(),
                payload: payload.into(),
            };
            let reply = answer(&request);
            seen.lock().unwrap().push(request);
            reply.map_err(|text| Failure::from(String::from_utf8_lossy(&text).into_owned()))
        };
        capture_log();
        let host = WapcHost::new(Box::new(Wasmi::new(wasm)), Some(Box::new(callback))).unwrap();
        Reference { host, host_calls }
    }

    pub(crate) fn call(&self, operation: &str, payload: &[u8]) -> Trace {
        LOGGED.take();
        let ending = match self.host.call(operation, payload) {
            Ok(reply) => Ending::Reply(reply),
            Err(WapcError::GuestCallFailure(text)) if text == STOPPED => Ending::Stopped,
            Err(WapcError::GuestCallFailure(text)) => Ending::Refusal(text),
            Err(other) => panic!("the reference failed: {other}"),
        };
        let host_calls = std::mem::take(&mut *self.host_calls.lock().unwrap());
        let start = format!("Guest module {}: ", self.host.id());
        let line = |line: String| line.strip_prefix(&start).unwrap().to_owned();
        Trace { ending, host_calls, lines: LOGGED.take().into_iter().map(line).collect() }
    }
}

/// What the engine says when a guest was stopped; the crate has no error variant for it.
const STOPPED: &str = "the reference engine stopped the guest";

/// The engine: links the nine imports, checks every pointer, runs `__guest_call`.
struct Wasmi {
    engine: Engine,
    module: Module,
    running: Option<(Store<Arc<ModuleState>>, Instance)>,
}

impl Wasmi {
    fn new(wasm: &[u8]) -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, wasm).unwrap();
        Wasmi { engine, module, running: None }
    }
}

impl WebAssemblyEngineProvider for Wasmi {
    fn init(&mut self, host: Arc<ModuleState>) -> Result<(), Failure> {
        let mut store = Store::new(&self.engine, host);
        let instance = linker(&self.engine)?.instantiate_and_start(&mut store, &self.module)?;
        for start in ["_initialize", "_start", "wapc_init"] {
            if let Ok(start) = instance.get_typed_func::<(), ()>(&store, start) {
                start.call(&mut store, ())?;
            }
        }
        self.running = Some((store, instance));
        Ok(())
    }

    fn call(&mut self, operation_len: i32, payload_len: i32) -> Result<i32, Failure> {
        let (store, instance) = self.running.as_mut().ok_or("not initialised")?;
        let call = instance.get_typed_func::<(i32, i32), i32>(&*store, "__guest_call")?;
        call.call(store, (operation_len, payload_len)).map_err(|_| STOPPED.into())
    }

    fn replace(&mut self, _bytes: &[u8]) -> Result<(), Failure> {
        Err("the reference replaces no modules".into())
    }
}

fn linker(engine: &Engine) -> Result<Linker<Arc<ModuleState>>, Failure> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap(HOST_NAMESPACE, "__guest_request", |mut caller: Context<'_>, operation: i32, payload: i32| {
            let request = caller.data().get_guest_request().ok_or_else(|| wasmi::Error::new("no request"))?;
            write(&mut caller, operation, request.operation.as_bytes())?;
            write(&mut caller, payload, &request.msg)
        })?
        .func_wrap(HOST_NAMESPACE, "__guest_response", |caller: Context<'_>, ptr: i32, len: i32| {
            let reply = read(&caller, ptr, len)?;
            caller.data().set_guest_response(reply);
            Ok::<_, wasmi::Error>(())
        })?
        .func_wrap(HOST_NAMESPACE, "__guest_error", |caller: Context<'_>, ptr: i32, len: i32| {
            let text = text(&caller, ptr, len)?;
            caller.data().set_guest_error(text);
            Ok::<_, wasmi::Error>(())
        })?
        .func_wrap(HOST_NAMESPACE, "__host_call", host_call)?
        .func_wrap(HOST_NAMESPACE, "__host_response_len", |caller: Context<'_>| {
            i32::try_from(caller.data().host_response_len()).unwrap()
        })?
        .func_wrap(HOST_NAMESPACE, "__host_response", |mut caller: Context<'_>, ptr: i32| {
            let reply = caller.data().with_host_response(<[u8]>::to_vec).unwrap_or_default();
            write(&mut caller, ptr, &reply)
        })?
        .func_wrap(HOST_NAMESPACE, "__host_error_len", |caller: Context<'_>| {
            i32::try_from(caller.data().get_host_error().unwrap_or_default().len()).unwrap()
        })?
        .func_wrap(HOST_NAMESPACE, "__host_error", |mut caller: Context<'_>, ptr: i32| {
            let text = caller.data().get_host_error().unwrap_or_default();
            write(&mut caller, ptr, text.as_bytes())
        })?
        .func_wrap(HOST_NAMESPACE, "__console_log", |caller: Context<'_>, ptr: i32, len: i32| {
            let line = text(&caller, ptr, len)?;
            caller.data().do_console_log(&line);
            Ok::<_, wasmi::Error>(())
        })?;
    Ok(linker)
}

#[allow(clippy::too_many_arguments, reason = "the protocol has eight")]
fn host_call(
    caller: Context<'_>,
    binding: i32,
    binding_len: i32,
    namespace: i32,
    namespace_len: i32,
    operation: i32,
    operation_len: i32,
    payload: i32,
    payload_len: i32,
) -> Result<i32, wasmi::Error> {
    let binding = text(&caller, binding, binding_len)?;
    let namespace = text(&caller, namespace, namespace_len)?;
    let operation = text(&caller, operation, operation_len)?;
    let payload = read(&caller, payload, payload_len)?;
    let host = Arc::clone(caller.data());
    host.do_host_call(&binding, &namespace, &operation, &payload).map_err(|error| wasmi::Error::new(error.to_string()))
}

fn memory(caller: &Context<'_>) -> Result<Memory, wasmi::Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| wasmi::Error::new("no memory"))
}

fn read(caller: &Context<'_>, ptr: i32, len: i32) -> Result<Vec<u8>, wasmi::Error> {
    let (ptr, len) = (ptr.cast_unsigned() as usize, len.cast_unsigned() as usize);
    let memory = memory(caller)?;
    let bytes = ptr.checked_add(len).and_then(|end| memory.data(caller).get(ptr..end));
    // No bytes can be anywhere: Zig points empty slices to the end of the address space.
    let bytes = if len == 0 { Some(&[][..]) } else { bytes };
    bytes.map(<[u8]>::to_vec).ok_or_else(|| wasmi::Error::new("a bad pointer"))
}

fn text(caller: &Context<'_>, ptr: i32, len: i32) -> Result<String, wasmi::Error> {
    read(caller, ptr, len).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn write(caller: &mut Context<'_>, ptr: i32, bytes: &[u8]) -> Result<(), wasmi::Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    let memory = memory(caller)?;
    memory.write(caller, ptr.cast_unsigned() as usize, bytes).map_err(|_| wasmi::Error::new("a bad pointer"))
}

thread_local! {
    /// What the `wapc` crate logged on this thread: it has no other way to say what a guest printed.
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("wapc::")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.with_borrow_mut(|logged| logged.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

fn capture_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
}
