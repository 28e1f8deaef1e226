//! Which functions may be on the stack while an import waits, but for what is dropped then (`glue`).

use std::collections::HashMap;

use wasmparser::{FuncType, FunctionBody, Operator};

use super::glue::References;
use super::interface::Refused;
use super::known::{Known, length};
use crate::rewrite::actor;

/// Who calls whom, as far as the code says it.
#[derive(Default)]
pub(super) struct Calls {
    /// Of each function that is not imported: what it calls by index, and the types that it calls by a reference, but for those calls
    /// that only drop a value.
    own: Vec<(Vec<u32>, Vec<u32>)>,
}

impl Calls {
    /// Notes what the next function's body calls, and which functions it makes references of.
    ///
    /// # Errors
    /// [`Refused::Table`] when it changes what an image does not hold.
    pub(super) fn read(&mut self, body: &FunctionBody<'_>, known: &mut Known<'_>) -> Result<(), Refused> {
        let (mut direct, mut references) = (Vec::new(), References::default());
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            references.read(&operator, known);
            match operator {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    direct.push(function_index);
                }
                Operator::RefFunc { function_index } => {
                    known.escaping.insert(function_index);
                }
                _ => {
                    if let Some((instruction, _advice)) = actor::changes(&operator) {
                        let function = known.imported() + length(self.own.len());
                        return Err(Refused::Table { function, instruction });
                    }
                }
            }
        }
        direct.sort_unstable();
        direct.dedup();
        self.own.push((direct, references.types()));
        Ok(())
    }
}

/// What may wait.
pub(super) struct Reach {
    functions: Vec<bool>,
    /// Calls by reference, by the index of their type.
    types: Vec<bool>,
}

impl Reach {
    /// Goes from the imports that wait to all that may call them: by index, or, when a reference is made of one, by a reference
    /// of its type. Of what calls such a type, whatever for, each call is a site; so who has only functions of this set on its stack has
    /// only sites there.
    ///
    /// # Errors
    /// [`Refused::Escapes`] when a reference is made of an import that waits.
    pub(super) fn of(known: &Known<'_>, calls: &Calls, waits: &dyn Fn(&str, &str) -> bool) -> Result<Self, Refused> {
        let imported = known.imported();
        let mut callers: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut callers_by_type: HashMap<&FuncType, Vec<u32>> = HashMap::new();
        for (function, (direct, by_type)) in (imported..).zip(&calls.own) {
            for callee in direct {
                callers.entry(*callee).or_default().push(function);
            }
            for ty in by_type.iter().filter_map(|index| known.ty(*index)) {
                callers_by_type.entry(ty).or_default().push(function);
            }
        }
        let mut functions = vec![false; usize::try_from(known.functions()).unwrap_or_default()];
        let mut found = Vec::new();
        for (function, import) in (0_u32..).zip(&known.imports) {
            if waits(import.module, import.name) {
                if known.escaping.contains(&function) {
                    return Err(Refused::Escapes { module: import.module.into(), name: import.name.into() });
                }
                found.push(function);
            }
        }
        let mut types: HashMap<&FuncType, bool> = HashMap::new();
        while let Some(function) = found.pop() {
            let Some(known_to_wait) = usize::try_from(function).ok().and_then(|index| functions.get_mut(index)) else {
                continue;
            };
            if std::mem::replace(known_to_wait, true) {
                continue;
            }
            found.extend(callers.get(&function).into_iter().flatten());
            if known.escaping.contains(&function)
                && let Some(ty) = known.function(function)
                && types.insert(ty, true).is_none()
            {
                found.extend(callers_by_type.get(ty).into_iter().flatten());
            }
        }
        let types = (0..known.types()).map(|index| known.ty(index).is_some_and(|ty| types.contains_key(ty))).collect();
        Ok(Reach { functions, types })
    }

    /// May this function be on the stack at a wait, or does it wait itself?
    pub(super) fn waits(&self, function: u32) -> bool {
        usize::try_from(function).ok().and_then(|index| self.functions.get(index)).copied().unwrap_or_default()
    }

    /// May what is called by a reference of this type wait?
    pub(super) fn type_waits(&self, index: u32) -> bool {
        usize::try_from(index).ok().and_then(|index| self.types.get(index)).copied().unwrap_or_default()
    }
}
