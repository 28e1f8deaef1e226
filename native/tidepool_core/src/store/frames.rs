//! The frames of a guest that leaves its stack, for as long as the host has them.

use std::time::Instant;

use wasmtime::{AsContextMut, Global, Instance, ModuleExport, Table};

use crate::base::trap::MAX_STACK_FRAMES;
use crate::rewrite::unwind::GROUP;

/// Words that are pushed and popped at once.
pub(super) type Group = [i64; GROUP];
/// Where in a group the slot of a second body is: in the upper half of its last word.
const SLOT_SHIFT: u32 = 32;

/// What a guest has for leaving its stack.
pub(crate) struct Frames {
    pub(super) unwinding: Global,
    pub(super) table: Table,
    /// Whether the host's functions are in the table.
    pub(super) is_linked: bool,
    pub(super) stage: Stage,
}

/// Where on its way a guest is.
pub(super) enum Stage {
    Runs,
    /// Its functions return, one after another, and leave these.
    Leaves(Stack),
    /// They are entered, one after another.
    Enters(Stack),
}

/// A stack that was left.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(super) groups: Vec<Group>,
    /// How many there are when all are.
    pub(super) whole: usize,
    pub(super) wait: Wait,
}

/// An import that a guest may be in when it leaves its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
}

impl Waiting {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Waiting { module, name }
    }

    /// Is it the one with these names?
    pub(crate) fn is(&self, module: &str, name: &str) -> bool {
        (self.module, self.name) == (module, name)
    }
}

/// The wait that a guest was in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) import: Waiting,
    /// When it is over; `None` is never.
    pub(crate) until: Option<Instant>,
}

/// Why a guest does not leave its stack at this wait. Nothing of it was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    /// Its module has no second bodies.
    #[error("its module was not deployed as one of processes that move")]
    Fixed,
    /// It waits in an import that is not called again elsewhere: for an answer of its host, say, or for a socket. It moves at the next wait
    /// in which it can, without being asked again.
    #[error(
        "it waits for its host, or for what this node alone has: it moves at its next wait for a time or a message"
    )]
    Import,
    /// A function on its stack has none.
    #[error(
        "its function {function} is on its stack and can't be left: it calls what waits as if that dropped a value"
    )]
    Function {
        /// Its index in the module.
        function: u32,
    },
    /// It has what means something to this node alone. It can go on in another instance here, and not as bytes.
    #[error("it has {what}, which it can't take along to another node or to disk")]
    Holds {
        /// What that is.
        what: &'static str,
    },
    /// There may be more on its stack than can be seen.
    #[error("its stack has {MAX_STACK_FRAMES} frames or more, and no more of them can be seen")]
    TooDeep,
    /// Its frames are more than it may have beside its memory.
    #[error("its frames take {bytes} bytes, for which there is no room within its memory limit")]
    NoRoom {
        /// What they take.
        bytes: usize,
    },
}

impl Frames {
    /// Those of a new instance of a module with these exports.
    pub(crate) fn of(
        mut store: impl AsContextMut,
        instance: Instance,
        (unwinding, table): &(ModuleExport, ModuleExport),
    ) -> Option<Self> {
        let unwinding = instance.get_module_export(&mut store, unwinding)?.into_global()?;
        let table = instance.get_module_export(&mut store, table)?.into_table()?;
        Some(Frames { unwinding, table, is_linked: false, stage: Stage::Runs })
    }

    /// The stack that the guest has left, once.
    pub(crate) fn take(&mut self) -> Option<Stack> {
        match std::mem::replace(&mut self.stage, Stage::Runs) {
            Stage::Leaves(stack) => Some(stack),
            _ => None,
        }
    }

    /// Does the guest leave its stack, or has it?
    pub(crate) fn leaves(&self) -> bool {
        matches!(self.stage, Stage::Leaves(_))
    }

    /// The stack that is entered.
    ///
    /// # Errors
    /// When none is.
    pub(super) fn entered(&mut self) -> wasmtime::Result<&mut Stack> {
        match &mut self.stage {
            Stage::Enters(stack) => Ok(stack),
            _ => Err(wasmtime::Error::msg("a frame is wanted, and none is to be entered")),
        }
    }
}

impl Stack {
    /// One that was left in this wait.
    pub(crate) fn of(groups: Vec<[i64; GROUP]>, wait: Wait) -> Self {
        Stack { whole: groups.len(), groups, wait }
    }

    /// Its frames, the outermost last.
    pub(crate) fn groups(&self) -> &[[i64; GROUP]] {
        &self.groups
    }

    /// The wait that it was left in.
    pub(crate) fn wait(&self) -> Wait {
        self.wait
    }

    /// Is all of it here?
    pub(crate) fn is_whole(&self) -> bool {
        self.groups.len() == self.whole
    }

    /// The slot of the second body that the frame on top is of.
    ///
    /// # Errors
    /// When there is no frame.
    pub(super) fn top(&self) -> wasmtime::Result<u32> {
        let [.., last] = self.groups.last().ok_or_else(no_frame)?;
        Ok(u32::try_from(last.cast_unsigned() >> SLOT_SHIFT)?)
    }
}

/// Why no frame is entered.
pub(super) fn no_frame() -> wasmtime::Error {
    wasmtime::Error::msg("there is no frame to be entered")
}
