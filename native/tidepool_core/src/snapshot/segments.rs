//! Data segments that a snapshot leaves behind.

use wasm_encoder::{DataSection, Module, RawSection};
use wasmparser::{DataKind, Parser, Payload};

/// The module without its passive data segments; `None` if it has none.
///
/// Wizer makes an empty passive segment of each one that is in the image, so that the numbers of the others stay the same. An
/// instance keeps a pointer and a length for each, and writes them when it is made: of the 45 µs that a
/// call of a new instance of Go's `hello_world` took, the 21,725 segments of its module were 34.
///
/// The count of segments goes with them. Instructions that refer to segments are valid only where there is one, so if
/// the module is valid without, nothing is missed.
pub(super) fn without_passive(wasm: &[u8]) -> wasmparser::Result<Option<Vec<u8>>> {
    let bytes = |range| wasm.get(range).unwrap_or_default();
    let mut passive = false;
    let mut slim = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::DataCountSection { .. } => {}
            Payload::DataSection(segments) => {
                let mut active = DataSection::new();
                for segment in segments {
                    let segment = segment?;
                    match segment.kind {
                        DataKind::Passive => passive = true,
                        DataKind::Active { .. } => drop(active.raw(bytes(segment.range))),
                    }
                }
                slim.section(&active);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    slim.section(&RawSection { id, data: bytes(range) });
                }
            }
        }
    }
    Ok(passive.then(|| slim.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::super::{Sandbox, prepare};
    use super::*;
    use crate::abi::Wapc;
    use crate::abi::contract::Spec;
    use crate::base::config::EngineKind;
    use crate::base::origin::Start;
    use crate::compiler::{Compilers, Job};
    use crate::settings;

    /// Kinds of the segments in the snapshot of a module that has `segments` and runs `body` in a call.
    fn snapshot(segments: &str, body: &str) -> Vec<&'static str> {
        let wasm = wat::parse_str(format!(
            r#"(module (memory (export "memory") 1) {segments}
                 (func (export "wapc_init") (i32.store8 (i32.const 2) (i32.const 99)))
                 (func (export "__guest_call") (param i32 i32) (result i32) {body} (i32.const 1)))"#
        ));
        let wasm = wasm.unwrap();
        let sandbox = Sandbox::new(&settings::runtime_config()).unwrap();
        let compilers = Compilers { program: None, bounds: settings::COMPILE_BOUNDS, max_code_bytes: usize::MAX };
        let spent = &std::cell::Cell::default();
        let here = Job { compilers: &compilers, wanted: &|| true, spent, patience: 1, deterministic: false };
        let abis = [Spec::module::<Wapc>()];
        let prepared = prepare(&sandbox, &abis, EngineKind::Fast, &wasm, Some(&settings::LIMITS), here).unwrap();
        assert_eq!(prepared.origin.start, Start::Snapshot);
        sandbox.validate(&prepared.wasm).unwrap();
        let mut kinds = Vec::new();
        for payload in Parser::new(0).parse_all(&prepared.wasm) {
            if let Payload::DataSection(segments) = payload.unwrap() {
                kinds.extend(segments.into_iter().map(|segment| match segment.unwrap().kind {
                    DataKind::Passive => "passive",
                    DataKind::Active { .. } => "active",
                }));
            }
        }
        kinds
    }

    #[test]
    fn a_snapshot_has_no_segments_but_those_of_its_image() {
        assert_eq!(snapshot(r#"(data (i32.const 0) "a") (data (i32.const 1) "b")"#, ""), ["active"]);
        assert_eq!(snapshot(r#"(data "never used")"#, ""), ["active"]);
    }

    #[test]
    fn segments_that_a_call_reads_stay_where_they_are_counted() {
        let read = "(memory.init 1 (i32.const 0) (i32.const 0) (i32.const 4))";
        assert_eq!(snapshot(r#"(data (i32.const 0) "a") (data "used")"#, read), ["passive", "passive", "active"]);
    }
}
