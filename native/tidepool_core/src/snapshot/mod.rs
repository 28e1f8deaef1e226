//! Snapshots after initialisation: start functions run once, when a module is compiled, and its instances begin where
//! they ended.
//!
//! `prepare` runs `_initialize`, `_start` and `wapc_init` of a waPC module in a `Sandbox` and writes what they left
//! in memory and globals back into the module, which then has nothing to run before a call. Its instances map that
//! memory copy-on-write. A module with which this can't be done faithfully stays as it is, with a [`Refusal`] that says
//! why; its instances run their start functions themselves.
//!
//! Faithfully means that an instance can't tell. So start functions may not call the host (what they print is printed once,
//! for all instances), and nothing may stay in the
//! image that ought to be another for each instance, which is found out by running them again with other answers:
//!
//! - The monotonic clock is at its beginning, as it is for an instance that has just been made.
//! - The wall clock and randomness may be asked for if the image is the same whatever they say.
//! - The generators of Go's runtime are recognised, and seeded anew for each instance: see `go`.

mod chacha8;
mod go;
mod image;
mod outline;
mod printed;
mod sandbox;
mod segments;

use std::borrow::Cow;
use std::ops::Range;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::compiler::{Failure, Job};
use crate::engine::EngineKind;
use crate::limits::Limits;
use crate::preempt::Moves;
use image::{Image, Instrumented, unsupported};
use outline::Outline;
use printed::Printed;
use sandbox::{Answers, Candidate};

pub(crate) use sandbox::Sandbox;

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
    #[error("its initialiser takes longer than its CPU time limit, or than {} s", sandbox::MAX_TIME.as_secs())]
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

/// A module that is ready to be compiled.
pub(crate) struct Prepared<'a> {
    pub(crate) wasm: Cow<'a, [u8]>,
    pub(crate) origin: Origin,
}

impl Origin {
    /// That of a module as it was deployed.
    fn of(start: Start) -> Self {
        Origin { start, reseed: Vec::new(), code_shift: 0, moves: Moves::default(), printed: Printed::default() }
    }

    /// Where in the module that was deployed the code stands that is at `offset` in the compiled one.
    pub(crate) fn deployed(&self, offset: usize) -> Option<usize> {
        self.moves.back(offset.checked_add_signed(-self.code_shift)?)
    }

    /// That of no module.
    pub(crate) fn unknown() -> Self {
        Self::of(Start::Nothing)
    }

    /// That of a module whose snapshot the compiler refused.
    pub(crate) fn unsupported(error: &wasmtime::Error) -> Self {
        Self::of(Start::Initialiser(unsupported(error)))
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

/// Why there is no snapshot.
enum Unprepared {
    /// For something about the module.
    Refused(Refusal),
    /// For nothing that says anything of its start functions: they never ran.
    Failed(Failure),
}

impl From<Refusal> for Unprepared {
    fn from(refusal: Refusal) -> Self {
        Unprepared::Refused(refusal)
    }
}

/// Takes the snapshot, or says why there is none. `limits` are those of the function that the module is deployed as;
/// without them nothing is run.
///
/// A compiler that fails, or is ended, is the only error: nothing has been learnt of the module then.
///
/// What is wrong with a module is for the compiler to say, and what is wrong with its start functions for the trial
/// start: nothing is refused here but the snapshot.
pub(crate) fn prepare<'a>(
    sandbox: &Sandbox,
    engine: EngineKind,
    wasm: &'a [u8],
    limits: Option<&Limits>,
    job: Job<'_>,
) -> Result<Prepared<'a>, Failure> {
    let as_it_is = |start| Prepared { wasm: Cow::Borrowed(wasm), origin: Origin::of(start) };
    let outline = match Outline::of(wasm) {
        Ok(outline) if outline.runs_before_calls => outline,
        _ => return Ok(as_it_is(Start::Nothing)),
    };
    // Instances of the dense engine copy what others map.
    let Some(limits) = limits.filter(|_| engine == EngineKind::Fast) else {
        return Ok(as_it_is(Start::Initialiser(Refusal::Off)));
    };
    match snapshot(sandbox, wasm, &outline, limits, job) {
        Err(Unprepared::Refused(refusal)) => Ok(as_it_is(Start::Initialiser(refusal))),
        Err(Unprepared::Failed(failure)) => Err(failure),
        Ok(prepared) => Ok(prepared),
    }
}

fn snapshot<'a>(
    sandbox: &Sandbox,
    wasm: &[u8],
    before: &Outline,
    limits: &Limits,
    job: Job<'_>,
) -> Result<Prepared<'a>, Unprepared> {
    // Wizer accepts whatever WebAssembly there is, and stumbles over some of it.
    sandbox.validate(wasm)?;
    let instrumented = Instrumented::new(wasm)?;
    let candidate = sandbox.compile(&instrumented, job)?;
    let (image, reseed, printed) = faithful(&candidate, limits)?;
    let mut wasm = instrumented.snapshot(&image)?;
    // A module that is valid without them refers to none.
    if let Ok(Some(slim)) = segments::without_passive(&wasm)
        && sandbox.validate(&slim).is_ok()
    {
        wasm = slim;
    }
    let after = Outline::of(&wasm).map_err(|error| Refusal::Unsupported { message: error.to_string() })?;
    Ok(Prepared {
        wasm: Cow::Owned(wasm),
        origin: Origin {
            start: Start::Snapshot,
            reseed,
            code_shift: after.code_at.cast_signed() - before.code_at.cast_signed(),
            moves: Moves::default(),
            printed,
        },
    })
}

/// Runs the start functions, as often as it takes to know what may not be frozen.
fn faithful(candidate: &Candidate, limits: &Limits) -> Result<(Image, Vec<Range<usize>>, Printed), Refusal> {
    let answers = Answers::random();
    let mut run = candidate.run(&answers, limits, None)?;
    let printed = std::mem::take(&mut run.printed);
    let others = Answers::random();
    if run.asked_more {
        let later = Answers { first: answers.first, ..others.clone() };
        if candidate.run(&later, limits, None)?.image != run.image {
            return Err(Refusal::Frozen);
        }
    }
    if run.asked_random {
        let first = Answers { first: others.first, ..answers.clone() };
        if candidate.run(&first, limits, None)?.image != run.image {
            let (image, reseed) = go::reseeded(candidate, run, &answers, limits).ok_or(Refusal::Frozen)?;
            return Ok((image, reseed, printed));
        }
    }
    Ok((run.image, Vec::new(), printed))
}
