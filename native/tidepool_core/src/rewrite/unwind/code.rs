//! The code of a module with second bodies.

use wasm_encoder::{Encode, Function};
use wasmparser::{FuncValidatorAllocations, Parser, ValidPayload, Validator, WasmFeatures};

use super::frames::{Added, encoded_all, groups};
use super::interface::Refused;
use super::known::{Known, length};
use super::plan::Plan;
use super::reach::Reach;
use super::{first, second};
use crate::base::bodies::Bodies;
use crate::base::moves::Moves;
use crate::rewrite::sections::assemble;

/// How many times larger a module may become.
const MAX_GROWTH: usize = 3;
/// What a module may grow by in any case, in bytes.
const SMALL: usize = 64 << 10;
/// Parsers refuse longer bodies, in bytes.
const MAX_BODY: usize = 7_654_321;

/// Bodies one after another.
#[derive(Default)]
struct Code {
    code: Vec<u8>,
    /// Where in it bytes stand that were moved, and from where.
    shifts: Vec<(usize, usize)>,
}

impl Code {
    /// Adds one, with where in it bytes stand that were moved, and from where.
    fn push(&mut self, function: u32, body: &[u8], shifts: &[(usize, usize)]) -> Result<(), Refused> {
        if body.len() > MAX_BODY {
            return Err(Refused::TooLong { function });
        }
        length(body.len()).encode(&mut self.code);
        let at = self.code.len();
        self.shifts.extend(shifts.iter().map(|(now, before)| (at + now, *before)));
        self.code.extend_from_slice(body);
        Ok(())
    }
}

/// Writes the module with what is `added`.
///
/// # Errors
/// A [`Refused`] that says why that can't be done.
pub(super) fn write(
    wasm: &[u8],
    (known, reach): (&Known<'_>, &Reach),
    mut added: Added,
) -> Result<(Vec<u8>, Bodies), Refused> {
    let mut validator = Validator::new_with_features(features());
    let (mut function, mut allocations) = (known.imported(), FuncValidatorAllocations::default());
    let (mut own, mut seconds, mut types) = (Code::default(), Code::default(), Vec::new());
    let mut frames = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let ValidPayload::Func(validate, body) = validator.payload(&payload?)? else { continue };
        let mut shifts = Vec::new();
        if reach.waits(function) {
            let plan;
            (plan, allocations) = Plan::of(function, validate, &body, (known, reach), allocations)?;
            let code = first::write(wasm, &body, &plan, &mut added, &mut shifts)?;
            own.push(function, &code, &shifts)?;
            shifts.clear();
            let code = second::write(wasm, &body, &plan, &mut added, &mut shifts)?;
            seconds.push(function, &code, &shifts)?;
            frames.push((function, groups(&plan)));
            types.push(added.result_type(&encoded_all(&plan.results)));
        } else {
            let mut valid = validate.into_validator(allocations);
            valid.validate(&body)?;
            allocations = valid.into_allocations();
            let range = body.range();
            own.push(function, wasm.get(range.clone()).unwrap_or_default(), &[(0, range.start)])?;
        }
        function += 1;
    }
    let helpers = added.functions();
    let mut code = Vec::with_capacity(own.code.len() + seconds.code.len() + 256);
    (function - known.imported() + length(helpers.len() + types.len())).encode(&mut code);
    let mut moves = Moves::new(known.functions());
    let mut append = |bodies: &Code, code: &mut Vec<u8>| {
        for (now, before) in &bodies.shifts {
            let now = code.len() + now;
            moves.push(now, now.cast_signed() - before.cast_signed());
        }
        code.extend_from_slice(&bodies.code);
    };
    append(&own, &mut code);
    helpers.iter().for_each(|helper: &Function| helper.encode(&mut code));
    append(&seconds, &mut code);
    let (mut new, moves) = assemble(wasm, &code, added.sections(&types), moves)?;
    let names = known.names(frames.iter().map(|(function, _groups)| *function), added.first_second());
    new.extend(names);
    if new.len() > wasm.len() * MAX_GROWTH + SMALL {
        return Err(Refused::TooLarge { before: wasm.len(), after: new.len() });
    }
    Ok((new, Bodies::new(moves, added.first_second(), frames)))
}

/// What is understood here. Exceptions, references that are called and what builds on these have ways through code that are not.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::MEMORY64
        | WasmFeatures::THREADS
}
