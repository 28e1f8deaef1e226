//! From bytes to a module that can be instantiated: checked first, then compiled, then linked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{ExternType, FuncType, InstancePre, ModuleExport, ValType};

use crate::abi::{self, Abi};
use crate::error::CompileError;
use crate::function::{Function, FunctionConfig, Instances};
use crate::runtime::{Inner, Runtime};
use crate::state::State;

const MAGIC: &[u8; 4] = b"\0asm";
/// Bytes 4 to 8 of a core module; a component has another version and layer there.
const CORE_VERSION: &[u8; 4] = &[1, 0, 0, 0];
const WASM_PAGE_BYTES: u64 = 64 << 10;
/// Start functions, in the order in which they run when they are exported.
const WAPC_START_FUNCTIONS: [&str; 3] = ["_initialize", "_start", "wapc_init"];

/// A module that was checked, compiled and linked. Functions are made from it without further work.
pub struct Module {
    pub(crate) runtime: Arc<Inner>,
    pub(crate) abi: Abi,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) uses_wasi: bool,
    imports: Vec<(String, String)>,
    initial_memory_bytes: u64,
    compile_time: Duration,
}

/// Where the ABI's exports are, so that no call looks them up by name.
pub(crate) struct Exports {
    pub(crate) memory: ModuleExport,
    /// The function that serves a call.
    pub(crate) call: ModuleExport,
    pub(crate) start: Vec<ModuleExport>,
}

impl Runtime {
    /// Checks `wasm`, compiles it for this machine and links it. Takes 5–50 ms for most modules and seconds for large
    /// ones, all of it on this thread and the compiler's: never call it where other work waits.
    ///
    /// # Errors
    /// A [`CompileError`] that says which of the steps refused the module, and what to change.
    pub fn compile(&self, wasm: &[u8]) -> Result<Module, CompileError> {
        let began = Instant::now();
        let runtime = &self.inner;
        check_header(wasm)?;
        let module =
            wasmtime::Module::from_binary(&runtime.engine, wasm).map_err(|error| refused(runtime, wasm, &error))?;
        let abi = Abi::of(&module)?;
        let exports = Exports::of(&module, abi)?;
        abi::check_imports(runtime, &module)?;
        let pre = runtime
            .linker
            .instantiate_pre(&module)
            .map_err(|error| CompileError::TooDemanding { message: format!("{error:#}") })?;
        // The image is made here, so that the first call does not pay for it. Without one the module still runs.
        drop(module.initialize_copy_on_write_image());
        let compile_time = began.elapsed();
        runtime.stats.count_compile(compile_time);
        Ok(Module {
            runtime: Arc::clone(runtime),
            abi,
            pre,
            exports,
            uses_wasi: module.imports().any(|import| import.module() == abi::WASI_MODULE),
            imports: module.imports().map(|import| (import.module().to_owned(), import.name().to_owned())).collect(),
            initial_memory_bytes: module.resources_required().max_initial_memory_size.unwrap_or(0) * WASM_PAGE_BYTES,
            compile_time,
        })
    }
}

impl Module {
    /// The ABI that the module speaks.
    #[must_use]
    pub fn abi(&self) -> Abi {
        self.abi
    }

    /// What the module imports, as pairs of module and name.
    #[must_use]
    pub fn imports(&self) -> &[(String, String)] {
        &self.imports
    }

    /// How long checking, compiling and linking took.
    #[must_use]
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// A function of this module: the module with a name, limits and a way of making instances.
    ///
    /// # Errors
    /// - [`CompileError::TooDemanding`] when the module starts with more memory than the limits allow.
    /// - [`CompileError::Config`] when the configuration does not suit the module or the runtime.
    pub fn function(self: &Arc<Self>, config: FunctionConfig) -> Result<Function, CompileError> {
        let limits = &config.limits;
        if self.initial_memory_bytes > limits.memory_bytes {
            return Err(CompileError::TooDemanding {
                message: format!(
                    "it starts with {} bytes of memory, and its limit is {}",
                    self.initial_memory_bytes, limits.memory_bytes
                ),
            });
        }
        if limits.memory_bytes > self.runtime.max_memory_bytes {
            return Err(CompileError::Config {
                message: format!(
                    "the memory limit of {} bytes is over the {} bytes that this node allows",
                    limits.memory_bytes, self.runtime.max_memory_bytes
                ),
            });
        }
        if limits.table_elements > self.runtime.max_table_elements {
            return Err(CompileError::Config {
                message: format!(
                    "the table limit of {} elements is over the {} elements that this node allows",
                    limits.table_elements, self.runtime.max_table_elements
                ),
            });
        }
        if matches!((self.abi, &config.instances), (Abi::WasiCommand, Instances::Warm { .. })) {
            return Err(CompileError::Config {
                message: "a WASI program runs once and ends, so its instances can't be kept warm: deploy it as `fresh`"
                    .into(),
            });
        }
        Ok(Function::new(Arc::clone(self), config))
    }
}

impl Exports {
    fn of(module: &wasmtime::Module, abi: Abi) -> Result<Self, CompileError> {
        let memory = match module.get_export("memory") {
            Some(ExternType::Memory(_)) => index(module, "memory", "a memory named")?,
            Some(other) => return Err(export_type("memory", "a memory", &other)),
            None => return Err(CompileError::MissingExport { name: "memory".into(), kind: "a memory named" }),
        };
        let (call, start) = match abi {
            Abi::Wapc => {
                check_function(module, "__guest_call", &[ValType::I32, ValType::I32], &[ValType::I32])?;
                let mut start = Vec::new();
                for name in WAPC_START_FUNCTIONS {
                    if module.get_export(name).is_some() {
                        check_function(module, name, &[], &[])?;
                        start.push(index(module, name, "a function named")?);
                    }
                }
                (index(module, "__guest_call", "a function named")?, start)
            }
            Abi::WasiCommand => {
                check_function(module, "_start", &[], &[])?;
                (index(module, "_start", "a function named")?, Vec::new())
            }
        };
        Ok(Exports { memory, call, start })
    }
}

/// Why the engine refused a module: one that validates asks for more than the engine gives.
fn refused(runtime: &Inner, wasm: &[u8], error: &wasmtime::Error) -> CompileError {
    let message = format!("{error:#}");
    match wasmtime::Module::validate(&runtime.engine, wasm) {
        Ok(()) => CompileError::TooDemanding { message },
        Err(_) => CompileError::Invalid { message },
    }
}

fn check_header(wasm: &[u8]) -> Result<(), CompileError> {
    let Some((magic, rest)) = wasm.split_first_chunk::<4>() else { return Err(CompileError::NotWasm) };
    if magic != MAGIC {
        return Err(CompileError::NotWasm);
    }
    match rest.first_chunk::<4>() {
        Some(CORE_VERSION) => Ok(()),
        Some([_, _, layer, _]) if *layer != 0 => Err(CompileError::Component),
        _ => Err(CompileError::Invalid { message: "the header has an unknown version".into() }),
    }
}

fn check_function(
    module: &wasmtime::Module,
    name: &str,
    params: &[ValType],
    results: &[ValType],
) -> Result<(), CompileError> {
    let expected = FuncType::new(module.engine(), params.iter().cloned(), results.iter().cloned());
    match module.get_export(name) {
        Some(ExternType::Func(found)) if FuncType::eq(&found, &expected) => Ok(()),
        Some(found) => Err(export_type(name, &abi::describe(&ExternType::Func(expected)), &found)),
        None => Err(CompileError::MissingExport { name: name.into(), kind: "a function named" }),
    }
}

fn export_type(name: &str, expected: &str, found: &ExternType) -> CompileError {
    CompileError::ExportType { name: name.into(), expected: expected.into(), found: abi::describe(found) }
}

fn index(module: &wasmtime::Module, name: &str, kind: &'static str) -> Result<ModuleExport, CompileError> {
    module.get_export_index(name).ok_or_else(|| CompileError::MissingExport { name: name.into(), kind })
}
