//! Names that hold on all nodes of a program. They are kept where it began; this is what is done there.

use crate::base::request::NameOperation;
use crate::process::program::Program;
use crate::process::registry::Claim;

/// Names of the dead that are forgotten at a time: it takes a scheduler less than a millisecond.
const FORGOTTEN_AT_ONCE: usize = 256;

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// It is done; of a name that was asked for, this process has it, or else 0.
    Done(u64),
    /// Another has it, or, when it was asked for (0), nobody.
    Taken(u64),
    /// There is no such process.
    NoProcess,
    /// There are as many names as there may be, or there is no room for more.
    Full,
}

impl Named {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const TAKEN: i32 = 1;

    /// The code that a guest gets, and the number that goes with it.
    #[must_use]
    pub fn code(self) -> (i32, u64) {
        match self {
            Named::Done(id) => (Self::DONE, id),
            Named::Taken(id) => (Self::TAKEN, id),
            Named::NoProcess => (2, 0),
            Named::Full => (3, 0),
        }
    }
}

/// What guests get, beside, when the node where the program began can't be asked.
pub(crate) const NOT_ASKED: i32 = 4;

impl Program {
    /// Does this with a name. Processes of other nodes are taken to live: whoever asks finds out.
    pub(crate) fn name(&self, operation: NameOperation, name: &str, id: u64) -> Named {
        let names = &self.wide_names;
        let lives = |id| self.may_live(id);
        match operation {
            NameOperation::Put | NameOperation::Claim if !self.may_have_name(id) => Named::NoProcess,
            NameOperation::Put if names.put(name, id) => Named::Done(id),
            NameOperation::Put => Named::Full,
            NameOperation::Claim => match names.put_if_free(name, id, lives) {
                Claim::Granted(_) => Named::Done(id),
                Claim::Taken(owner) => Named::Taken(owner),
                // Nobody makes processes for these names.
                Claim::Wait | Claim::Full => Named::Full,
            },
            NameOperation::Get => names.get(name, lives).map_or(Named::Taken(0), Named::Done),
            NameOperation::Remove => {
                names.remove(name);
                Named::Done(0)
            }
            NameOperation::Free => {
                names.remove_of(name, id);
                Named::Done(0)
            }
        }
    }

    /// Is it a guest that lives here, or a process of another node?
    fn may_have_name(&self, id: u64) -> bool {
        self.place.is_away(id) || self.process(id).is_some_and(|process| process.is_guest())
    }

    /// Takes some names from this process, which was of another node; whether it has none any more.
    pub(crate) fn forget_names(&self, dead: u64) -> bool {
        self.wide_names.forget(dead, FORGOTTEN_AT_ONCE)
    }
}
