//! Where traps are said to stand.

use std::collections::HashMap;

use tidepool_core::trap::{Frame, TrapKind};
use wasmparser::{Operator, Parser, Payload, TypeRef};

/// The instructions of a module, by where they stand: of which function, and what.
pub(super) struct Places(HashMap<usize, (u32, String)>);

impl Places {
    /// Of a module that is valid; of another one, those up to there.
    pub(super) fn of(wasm: &[u8]) -> Self {
        let mut places = Self(HashMap::new());
        let _ = places.read(wasm);
        places
    }

    fn read(&mut self, wasm: &[u8]) -> wasmparser::Result<()> {
        let mut function = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        function += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader()?.into_iter_with_offsets() {
                        let (operator, at) = operator?;
                        self.0.insert(at, (function, name(&operator)));
                    }
                    function += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that each frame stands at an instruction of its function that can be why it is there.
    ///
    /// # Panics
    /// When one does not.
    pub(super) fn check(&self, kind: TrapKind, frames: &[Frame]) {
        for (depth, frame) in frames.iter().enumerate() {
            let found = frame.offset.and_then(|offset| self.0.get(&offset));
            let Some((function, operator)) = found else {
                panic!("{kind:?}: frame {depth} stands at no instruction: {frames:?}")
            };
            let words: &[&str] = match kind {
                _ if depth > 0 => &["Call"],
                // One that is all of an `if` is compiled with it.
                TrapKind::Unreachable => &["Unreachable", "If"],
                TrapKind::TableOutOfBounds => &["Table", "CallIndirect", "Elem"],
                TrapKind::IndirectCallToNull | TrapKind::BadSignature => &["CallIndirect"],
                TrapKind::IntegerOverflow | TrapKind::IntegerDivisionByZero => &["Div", "Rem", "Trunc"],
                TrapKind::BadConversionToInteger => &["Trunc"],
                TrapKind::BadPointer => &["Call"],
                // A load may be part of the instruction that uses it.
                _ => &[""],
            };
            let can = words.iter().any(|word| operator.contains(word));
            assert!(*function == frame.index && can, "{kind:?}: frame {depth} stands at {operator}: {frames:?}");
        }
    }
}

/// The variant's name.
fn name(operator: &Operator<'_>) -> String {
    let shown = format!("{operator:?}");
    shown.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}
