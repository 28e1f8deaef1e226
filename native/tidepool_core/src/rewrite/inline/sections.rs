//! What a module gets in its sections.

use wasm_encoder::{ConstExpr, Encode, ExportKind, GlobalType, MemoryType, SectionId, ValType};

use super::plan::Plan;
use crate::rewrite::sections::More;

/// What is added to so many memories and globals.
pub(super) fn added((memories, globals_there): (u32, u32), plan: &Plan) -> Vec<More> {
    let mut memory = Vec::new();
    MemoryType { minimum: plan.pages, maximum: None, memory64: false, shared: false, page_size_log2: None }
        .encode(&mut memory);
    let (mut count, mut globals, mut exports) = (0, Vec::new(), Vec::new());
    let added = plan.part.into_iter().map(|name| (name, 0)).chain([plan.end]);
    for (_name, first) in added.clone() {
        GlobalType { val_type: ValType::I64, mutable: true, shared: false }.encode(&mut globals);
        ConstExpr::i64_const(first).encode(&mut globals);
        count += 1;
    }
    let all = added.zip(globals_there..).map(|((name, _first), index)| (name, ExportKind::Global, index));
    for (name, kind, index) in [(plan.memory, ExportKind::Memory, memories)].into_iter().chain(all) {
        name.encode(&mut exports);
        kind.encode(&mut exports);
        index.encode(&mut exports);
    }
    vec![
        More::new(SectionId::Export, count + 1, exports),
        More::new(SectionId::Global, count, globals),
        More::new(SectionId::Memory, 1, memory),
    ]
}
