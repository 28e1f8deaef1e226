//! How a module was prepared before it was compiled, as its instances and its author have to know.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bodies::Bodies;
use super::moves::Moves;
use super::printed::Printed;

/// Longest that start functions run ahead of all calls, whatever their function's limit is: they hold a compile thread.
pub(crate) const MAX_TIME: Duration = Duration::from_secs(1);

/// What happens before an instance serves its first call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Nothing: the module has no start functions, or is a program, whose `_start` is the call.
    Nothing,
    /// The instance begins with the state that the start functions left when the module was compiled.
    Snapshot,
    /// The instance runs its start functions, for the reason given.
    Initialiser(Refusal),
}

/// Why a module's instances run its start functions themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The deploy did without, or chose the dense engine, whose instances share no images.
    #[error("it was deployed without a snapshot, or on the dense engine, which has none")]
    Off,
    /// The deploy is that of an actor, which starts once in its life.
    #[error("its instances are actors, whose initialiser runs once in their lives")]
    Actor,
    /// A start function asks the host for something.
    #[error("its initialiser calls {import}")]
    Host {
        /// `module.name` of the import.
        import: String,
    },
    /// What the clock or randomness said stays in the memory that the start functions leave.
    #[error("its initialiser keeps what it got from the clock or from randomness")]
    Frozen,
    /// The start functions did not come to an end in time.
    #[error("its initialiser takes longer than its CPU time limit, or than {} s", MAX_TIME.as_secs())]
    TooSlow,
    /// They failed.
    #[error("its initialiser failed: {message}")]
    Failed {
        /// What the engine says of it.
        message: String,
    },
    /// They leave more memory than an image may have.
    #[error("its initialiser leaves {bytes} bytes of memory, more than the {allowed} of a snapshot")]
    TooLarge {
        /// Size of the memory, or of the part of it that is not zero.
        bytes: usize,
        /// What there may be.
        allowed: usize,
    },
    /// The module has what a snapshot can't capture.
    #[error("a snapshot can't capture what the module uses: {message}")]
    Unsupported {
        /// What that is.
        message: String,
    },
}

impl Refusal {
    /// That of what the engine, or Wizer, does not take.
    pub(crate) fn unsupported(error: &wasmtime::Error) -> Self {
        Refusal::Unsupported { message: error.root_cause().to_string() }
    }
}

/// What the instances of a module have to know about how it was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) start: Start,
    /// Parts of an instance's memory that get fresh random bytes before it runs.
    pub(crate) reseed: Vec<Range<usize>>,
    /// How much later code stands in the prepared module than in the one of which the snapshot was taken, in bytes.
    pub(crate) code_shift: isize,
    /// Leads from there to the module that was deployed, or to that with second bodies.
    pub(crate) moves: Moves,
    /// Leads from the compiled module to the prepared one, where calls became instructions.
    pub(crate) inlined: Moves,
    /// What the start functions printed that were run then.
    pub(crate) printed: Printed,
    /// The second bodies that functions got first of all.
    pub(crate) bodies: Bodies,
}

impl Origin {
    /// That of a module as it was deployed.
    pub(crate) fn of(start: Start) -> Self {
        let (moves, inlined) = (Moves::default(), Moves::default());
        let (printed, bodies) = (Printed::default(), Bodies::default());
        Origin { start, reseed: Vec::new(), code_shift: 0, moves, inlined, printed, bodies }
    }

    /// Where in the module that was deployed the code stands that is at `offset` in the compiled one.
    pub(crate) fn deployed(&self, offset: usize) -> Option<usize> {
        let checked = self.inlined.back(offset)?.checked_add_signed(-self.code_shift)?;
        self.bodies.moves.back(self.moves.back(checked)?)
    }

    /// The function of its author's that a function of the compiled module is; `None` of one that was added.
    pub(crate) fn own(&self, function: u32) -> Option<u32> {
        if self.moves.added(function) { None } else { self.bodies.own(function) }
    }

    /// That of a module whose snapshot the compiler refused.
    pub(crate) fn unsupported(error: &wasmtime::Error) -> Self {
        Self::of(Start::Initialiser(Refusal::unsupported(error)))
    }

    /// Has what has to be random in an instance's memory filled.
    pub(crate) fn seed(&self, memory: &mut [u8], fill: impl Fn(&mut [u8])) {
        for range in &self.reseed {
            if let Some(bytes) = memory.get_mut(range.clone()) {
                fill(bytes);
            }
        }
    }
}
