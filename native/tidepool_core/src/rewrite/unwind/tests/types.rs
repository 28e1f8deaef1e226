//! Types of values and of functions, of generated modules.

use wasm_encoder::ValType;

use super::random::Random;

pub(super) const TYPES: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];

/// Up to so many types.
pub(super) fn types_of(random: &mut Random, most: usize) -> Vec<ValType> {
    (0..random.below(most + 1)).map(|_| TYPES[random.below(TYPES.len())]).collect()
}

/// The types of functions and blocks of a module.
#[derive(Default)]
pub(super) struct Types(pub(super) Vec<(Vec<ValType>, Vec<ValType>)>);

impl Types {
    pub(super) fn of(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let wanted = (params.to_vec(), results.to_vec());
        let found = self.0.iter().position(|ty| *ty == wanted);
        found.unwrap_or_else(|| {
            self.0.push(wanted);
            self.0.len() - 1
        }) as u32
    }
}
