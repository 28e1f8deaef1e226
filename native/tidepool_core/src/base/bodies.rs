//! What is known of a module whose stack can be left: which of its functions have second bodies, and what their frames take.

use serde::{Deserialize, Serialize};

use super::moves::Moves;

/// The second bodies of a module's functions. There are none in a module that was compiled as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bodies {
    /// Where the code of both bodies stood.
    pub(crate) moves: Moves,
    /// The index of the first second body.
    first: u32,
    /// The functions that have one, in their order, each with how many groups of words its frame takes.
    functions: Vec<(u32, u32)>,
}

impl Bodies {
    /// Those of `functions`, from the function `first` on.
    pub(crate) fn new(moves: Moves, first: u32, functions: Vec<(u32, u32)>) -> Self {
        Bodies { moves, first, functions }
    }

    /// How many groups of words the frames of these functions take, which are all that are on a stack.
    ///
    /// # Errors
    /// The first of them that can't be left.
    pub(crate) fn frames(&self, stack: impl IntoIterator<Item = u32>) -> Result<usize, u32> {
        let mut groups = 0;
        for function in stack {
            let own = self.own(function).unwrap_or(function);
            let Ok(place) = self.functions.binary_search_by_key(&own, |(function, _groups)| *function) else {
                return Err(own);
            };
            groups += self.functions.get(place).map_or(0, |(_function, groups)| *groups as usize);
        }
        Ok(groups)
    }

    /// The function of the author's that this one is, or is the second body of; `None` of what the author knows nothing of.
    pub(crate) fn own(&self, function: u32) -> Option<u32> {
        if !self.moves.added(function) {
            return Some(function);
        }
        let place = function.checked_sub(self.first)?;
        self.functions.get(usize::try_from(place).ok()?).map(|(function, _groups)| *function)
    }

    /// How many functions have second bodies.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.functions.len()
    }
}
