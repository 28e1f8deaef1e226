//! Calls by reference that only drop a value whose type is not known, as compiled Rust has them wherever it drops a `Box<dyn Trait>`.
//!
//! What they call has the commonest of types, `(i32) -> ()`, and so have the entries of processes. If a reference of an entry could be
//! meant by each of them, most of a program could be on the stack of a wait: all that may panic drops what it panicked with. So they
//! are taken for calls that don't wait, and a stack is looked at before it is left.

use std::collections::{HashMap, HashSet};

use wasmparser::{Operator, ValType};

use super::known::Known;

/// Where a table of methods has the function that drops a value, and the size of that. A call is told from others by that both are read.
const DROP: u64 = 0;
const SIZE: u64 = 4;

/// Loads in a row that are kept track of.
const MOST_LOADS: usize = 4;

/// A value that is loaded by way of a local: the offsets of the loads, one after another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Path {
    local: u32,
    loads: [Option<u64>; MOST_LOADS],
}

impl Path {
    fn of(local: u32) -> Self {
        Path { local, loads: [None; MOST_LOADS] }
    }

    /// What is loaded from where this leads; `None` when that is too far.
    fn load(mut self, offset: u64) -> Option<Self> {
        *self.loads.iter_mut().find(|load| load.is_none())? = Some(offset);
        Some(self)
    }

    /// The offset of the last load, and what that was loaded from.
    fn last(mut self) -> Option<(u64, Self)> {
        let last = self.loads.iter_mut().rev().find_map(Option::take)?;
        Some((last, self))
    }
}

/// The calls by reference of a function, those apart that may drop a value.
#[derive(Default)]
pub(super) struct References {
    /// What lies on top of the stack, if that is known.
    top: Option<Path>,
    /// What locals hold, as far as they were loaded by way of others.
    held: HashMap<u32, Path>,
    /// Tables of methods of which a size was read.
    sized: HashSet<Path>,
    /// Calls that may drop what has these methods, and their types.
    drops: Vec<(Path, u32)>,
    types: Vec<u32>,
}

impl References {
    /// Notes an instruction, the next one.
    pub(super) fn read(&mut self, operator: &Operator<'_>, known: &Known<'_>) {
        let before = self.top.take();
        match *operator {
            Operator::LocalGet { local_index: local } => {
                self.top = Some(self.held.get(&local).copied().unwrap_or(Path::of(local)));
            }
            Operator::LocalSet { local_index: local } | Operator::LocalTee { local_index: local } => {
                // What is loaded by way of itself is where others begin.
                let held = before.filter(|path| path.local != local);
                match held {
                    Some(path) => drop(self.held.insert(local, path)),
                    None => drop(self.held.remove(&local)),
                }
                if matches!(operator, Operator::LocalTee { .. }) {
                    self.top = Some(held.unwrap_or(Path::of(local)));
                }
            }
            Operator::I32Load { memarg } => {
                if memarg.offset == SIZE {
                    self.sized.extend(before);
                }
                self.top = before.and_then(|path| path.load(memarg.offset));
            }
            Operator::CallIndirect { type_index, .. } => match before.and_then(Path::last) {
                Some((DROP, methods)) if drops(type_index, known) => self.drops.push((methods, type_index)),
                _ => self.types.push(type_index),
            },
            Operator::ReturnCallIndirect { type_index, .. } => self.types.push(type_index),
            _ => {}
        }
    }

    /// The types of those that may wait, in their order.
    pub(super) fn types(self) -> Vec<u32> {
        let References { sized, drops, mut types, .. } = self;
        types.extend(drops.into_iter().filter(|(methods, _type)| !sized.contains(methods)).map(|(_methods, ty)| ty));
        types.sort_unstable();
        types.dedup();
        types
    }
}

/// Is this the type of what drops a value?
fn drops(ty: u32, known: &Known<'_>) -> bool {
    known.ty(ty).is_some_and(|ty| ty.params() == [ValType::I32] && ty.results().is_empty())
}
