//! What is in an instance that serves no call: its memory and its globals, for its owner to read and to write.

use wasmtime::{ExternType, Global, Memory, Module, Mutability, ValType};

use super::live::Instance;
use crate::abi::describe::{self, Signature};
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::module::compiled::{CompiledModule, Linked};
use crate::rewrite::exports::RESERVED;
use crate::value::Value;
use crate::value::numbers::{is_number, number, value};

/// The export that is the memory.
const MEMORY: &str = "memory";

/// What a module exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ExportKind,
}

/// What an export is. Types of a module are as in WAT, `i32`; those of a component as in WIT, `list<u8>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportKind {
    /// A function.
    Function {
        /// What it takes.
        params: Vec<String>,
        /// What it returns.
        results: Vec<String>,
    },
    /// A function of a component.
    Typed {
        /// The interface that it is in, if it is in one.
        interface: Option<String>,
        /// Its name there.
        function: String,
        /// The names of what it takes, and their types.
        params: Vec<(String, String)>,
        /// What it returns, if anything.
        result: Option<String>,
        /// Why nobody can call it.
        uncallable: Option<&'static str>,
    },
    /// A global.
    Global {
        /// What it is.
        ty: String,
        /// Whether it can be set.
        mutable: bool,
    },
    /// A memory.
    Memory,
    /// Anything else.
    Other,
}

/// What a module exports, in its order; of a component the functions.
pub(crate) fn exports(module: &CompiledModule) -> Vec<Export> {
    match &module.linked {
        Linked::Module { pre, .. } => of_module(pre.module()),
        Linked::Component { interface, .. } => describe::signatures(interface).into_iter().map(typed).collect(),
    }
}

fn typed(signature: Signature<'_>) -> Export {
    let Signature { export, params, result } = signature;
    let (interface, function) = export.parts();
    let names = export.params.iter().map(|(name, _ty)| String::from(&**name));
    // An instance that is kept has resources.
    let uncallable = export.uncallable.filter(|_why| !export.resources);
    let (interface, function) = (interface.map(str::to_owned), function.to_owned());
    let kind = ExportKind::Typed { interface, function, params: names.zip(params).collect(), result, uncallable };
    Export { name: String::from(&*export.name), kind }
}

fn of_module(module: &Module) -> Vec<Export> {
    let names = |types: &mut dyn Iterator<Item = ValType>| types.map(|ty| ty.to_string()).collect();
    module
        .exports()
        .filter(|export| !export.name().starts_with(RESERVED))
        .map(|export| {
            let kind = match export.ty() {
                ExternType::Func(ty) => {
                    ExportKind::Function { params: names(&mut ty.params()), results: names(&mut ty.results()) }
                }
                ExternType::Global(ty) => {
                    ExportKind::Global { ty: ty.content().to_string(), mutable: ty.mutability() == Mutability::Var }
                }
                ExternType::Memory(_) => ExportKind::Memory,
                ExternType::Table(_) | ExternType::Tag(_) => ExportKind::Other,
            };
            Export { name: export.name().to_owned(), kind }
        })
        .collect()
}

impl Instance {
    /// The size of its memory, in bytes.
    ///
    /// # Errors
    /// [`CallError::NoExport`] when it exports none by the name `memory`; as of all that follow.
    pub(crate) fn memory_bytes(&mut self) -> Result<usize, CallError> {
        let memory = self.memory()?;
        Ok(memory.data_size(self.resting()?))
    }

    /// `read` of so many bytes of its memory.
    ///
    /// # Errors
    /// [`CallError::Arguments`] when they are not all within it.
    pub(crate) fn read_memory<T>(
        &mut self,
        offset: u64,
        length: u64,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, CallError> {
        let memory = self.memory()?;
        let bytes = memory.data(self.resting()?);
        let range = range(offset, length);
        range.and_then(|range| bytes.get(range)).map(read).ok_or_else(|| outside(offset, length, bytes.len()))
    }

    /// Puts bytes into its memory.
    ///
    /// # Errors
    /// [`CallError::Arguments`] when there is no room for all of them; nothing has changed then.
    pub(crate) fn write_memory(&mut self, offset: u64, bytes: &[u8]) -> Result<(), CallError> {
        self.lose_tape();
        let memory = self.memory()?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let data = memory.data_mut(self.resting()?);
        let size = data.len();
        let Some(place) = range(offset, length).and_then(|range| data.get_mut(range)) else {
            return Err(outside(offset, length, size));
        };
        place.copy_from_slice(bytes);
        Ok(())
    }

    /// Has its memory grow by so many pages of 64 KiB; how many it had.
    ///
    /// # Errors
    /// [`CallError::Limit`] when it may not have as many, [`CallError::Arguments`] when its module does not want as many.
    pub(crate) fn grow_memory(&mut self, pages: u64) -> Result<u64, CallError> {
        self.lose_tape();
        let memory = self.memory()?;
        let store = self.resting()?;
        store.data_mut().meter.denied = None;
        if let Ok(had) = memory.grow(&mut *store, pages) {
            return Ok(had);
        }
        let state = store.data_mut();
        Err(match state.meter.denied.take() {
            Some(Limit::TotalMemory) => CallError::limit(Limit::TotalMemory, state.function.total_memory_bytes()),
            Some(limit) => CallError::limit(limit, state.meter.memory_bytes()),
            None => wrong(format!("the module's own limit is below {pages} pages more")),
        })
    }

    /// A global that it exports, if it is a number.
    ///
    /// # Errors
    /// [`CallError::NoExport`] when it exports no global of that name, [`CallError::Arguments`] when that is no number.
    pub(crate) fn global(&mut self, name: &str) -> Result<Value, CallError> {
        let global = self.find_global(name)?;
        let store = self.resting()?;
        if !is_number(global.ty(&*store).content()) {
            return Err(wrong(format!("the global `{name}` is no number")));
        }
        Ok(value(&global.get(store)))
    }

    /// Sets a global that it exports.
    ///
    /// # Errors
    /// As of [`Instance::global`]; [`CallError::Arguments`] when it can't be changed, or is of another type, too.
    pub(crate) fn set_global(&mut self, name: &str, value: &Value) -> Result<(), CallError> {
        self.lose_tape();
        let global = self.find_global(name)?;
        let store = self.resting()?;
        let ty = global.ty(&*store);
        if ty.mutability() != Mutability::Var {
            return Err(wrong(format!("the global `{name}` is a constant")));
        }
        let number = number(value, ty.content()).map_err(|fault| wrong(format!("the global `{name}` {fault}")))?;
        global.set(store, number).map_err(|error| wrong(format!("{error:#}")))
    }

    /// What is changed from outside is on no tape.
    fn lose_tape(&self) {
        if let Some(tape) = self.tape() {
            tape.lose("what its owner has put into it");
        }
    }

    fn memory(&mut self) -> Result<Memory, CallError> {
        let memory = self.resting()?.data().memory;
        memory.ok_or_else(|| CallError::no_export(MEMORY, []))
    }

    fn find_global(&mut self, name: &str) -> Result<Global, CallError> {
        let store = self.resting()?;
        let instance = store.data().instance.filter(|_instance| !name.starts_with(RESERVED));
        let global = instance.and_then(|instance| instance.get_global(&mut *store, name));
        global.ok_or_else(|| CallError::no_export(name, []))
    }
}

fn range(offset: u64, length: u64) -> Option<std::ops::Range<usize>> {
    let (start, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
    Some(start..start.checked_add(length)?)
}

fn outside(offset: u64, length: u64, size: usize) -> CallError {
    wrong(format!("{length} bytes at {offset} are not within the memory, which has {size}"))
}

fn wrong(message: String) -> CallError {
    CallError::Arguments { path: String::new(), message }
}
