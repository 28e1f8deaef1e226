//! The way from a module to its snapshot.

use std::borrow::Cow;
use std::ops::Range;

use super::answers::Entropy;
use super::image::{Image, Instrumented};
use super::outline::Outline;
use super::sandbox::{Candidate, Sandbox, Unprepared};
use super::{go, segments};
use crate::abi::contract::{ModuleSpec, Spec};
use crate::base::bodies::Bodies;
use crate::base::config::EngineKind;
use crate::base::limits::Limits;
use crate::base::moves::Moves;
use crate::base::origin::{Origin, Refusal, Start};
use crate::base::printed::Printed;
use crate::compiler::{Failure, Job};

/// A module that is ready to be compiled.
pub(crate) struct Prepared<'a> {
    pub(crate) wasm: Cow<'a, [u8]>,
    pub(crate) origin: Origin,
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
    abis: &[Spec],
    engine: EngineKind,
    wasm: &'a [u8],
    limits: Option<&Limits>,
    job: Job<'_>,
) -> Result<Prepared<'a>, Failure> {
    let as_it_is = |start| Prepared { wasm: Cow::Borrowed(wasm), origin: Origin::of(start) };
    let Ok(Outline { rehearsed: Some(abi), code_at }) = Outline::of(wasm, abis) else {
        return Ok(as_it_is(Start::Nothing));
    };
    // Instances of the dense engine copy what others map.
    let Some(limits) = limits.filter(|_| engine == EngineKind::Fast) else {
        return Ok(as_it_is(Start::Initialiser(Refusal::Off)));
    };
    match snapshot(sandbox, wasm, abi, code_at, limits, job) {
        Err(Unprepared::Refused(refusal)) => Ok(as_it_is(Start::Initialiser(refusal))),
        Err(Unprepared::Failed(failure)) => Err(failure),
        Ok(prepared) => Ok(prepared),
    }
}

fn snapshot<'a>(
    sandbox: &Sandbox,
    wasm: &[u8],
    abi: ModuleSpec,
    code_at: usize,
    limits: &Limits,
    job: Job<'_>,
) -> Result<Prepared<'a>, Unprepared> {
    // Wizer accepts whatever WebAssembly there is, and stumbles over some of it.
    sandbox.validate(wasm)?;
    let instrumented = Instrumented::new(wasm)?;
    let candidate = sandbox.compile(&instrumented, abi, job)?;
    let (image, reseed, printed) = faithful(&candidate, limits)?;
    let mut wasm = instrumented.snapshot(&image)?;
    // A module that is valid without them refers to none.
    if let Ok(Some(slim)) = segments::without_passive(&wasm)
        && sandbox.validate(&slim).is_ok()
    {
        wasm = slim;
    }
    let after = Outline::of(&wasm, &[]).map_err(|error| Refusal::Unsupported { message: error.to_string() })?;
    Ok(Prepared {
        wasm: Cow::Owned(wasm),
        origin: Origin {
            start: Start::Snapshot,
            reseed,
            code_shift: after.code_at.cast_signed() - code_at.cast_signed(),
            moves: Moves::default(),
            inlined: Moves::default(),
            printed,
            bodies: Bodies::default(),
        },
    })
}

/// Runs the start functions, as often as it takes to know what may not be frozen.
fn faithful(candidate: &Candidate, limits: &Limits) -> Result<(Image, Vec<Range<usize>>, Printed), Refusal> {
    let entropy = Entropy::random();
    let mut run = candidate.run(&entropy, limits, None)?;
    let printed = std::mem::take(&mut run.printed);
    let others = Entropy::random();
    if run.asked_more {
        let later = Entropy { first: entropy.first, ..others.clone() };
        if candidate.run(&later, limits, None)?.image != run.image {
            return Err(Refusal::Frozen);
        }
    }
    if run.asked_random {
        let first = Entropy { first: others.first, ..entropy.clone() };
        if candidate.run(&first, limits, None)?.image != run.image {
            let (image, reseed) = go::reseeded(candidate, run, &entropy, limits).ok_or(Refusal::Frozen)?;
            return Ok((image, reseed, printed));
        }
    }
    Ok((run.image, Vec::new(), printed))
}
