//! How a module was prepared before it was compiled, as its instances and its author have to know.

use std::ops::Range;
use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};

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
    /// Leads from there to the module that was deployed.
    pub(crate) moves: Moves,
    /// What the start functions printed that were run then.
    pub(crate) printed: Printed,
}

impl Origin {
    /// That of a module as it was deployed.
    pub(crate) fn of(start: Start) -> Self {
        Origin { start, reseed: Vec::new(), code_shift: 0, moves: Moves::default(), printed: Printed::default() }
    }

    /// Where in the module that was deployed the code stands that is at `offset` in the compiled one.
    pub(crate) fn deployed(&self, offset: usize) -> Option<usize> {
        self.moves.back(offset.checked_add_signed(-self.code_shift)?)
    }

    /// That of a module whose snapshot the compiler refused.
    pub(crate) fn unsupported(error: &wasmtime::Error) -> Self {
        Self::of(Start::Initialiser(Refusal::unsupported(error)))
    }

    /// Fills what has to be random in an instance's memory.
    pub(crate) fn seed(&self, memory: &mut [u8]) {
        if self.reseed.is_empty() {
            return;
        }
        let mut random = rand::rng();
        for range in &self.reseed {
            if let Some(bytes) = memory.get_mut(range.clone()) {
                random.fill_bytes(bytes);
            }
        }
    }
}
