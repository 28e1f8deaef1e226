//! What is known of a component before it is rewritten.

use super::held::Number;
use super::inner;
use super::names::Stream;

/// What there is of a component that its actors' images are told by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The instance of a module that has the memory.
    pub(super) memory: u32,
    /// Mutable globals: by the instance that has one, and its number among those of its module.
    pub(super) globals: Vec<(u32, usize, Number)>,
    /// The instances whose modules have a start function, in the order in which they are made.
    pub(super) starts: Vec<u32>,
    /// What is to be exported of each module, by its memory, globals and start function.
    pub(super) exposed: Vec<inner::Exposing>,
    /// The standard streams that it asks for, and the function that it has imported for each.
    pub(super) streams: Vec<(Stream, u32)>,
    /// How often it may drop one.
    pub(super) drops: usize,
    /// Where its data lie in the memory of a new instance, in the order in which they are put there.
    pub(crate) data: Vec<(u64, Vec<u8>)>,
}

impl Outline {
    /// What its mutable globals hold, in the order in which an accessor tells of them.
    pub(crate) fn numbers(&self) -> Vec<Number> {
        self.globals.iter().map(|(_instance, _number, number)| *number).collect()
    }
}
