//! What a module asks of its host's handlers, as far as it is told.

use std::collections::HashSet;

use crate::abi::contract::Ask;

/// Most imports that are told.
const MOST: usize = 1_000;
/// Most bytes of their names together. An interface may have as many functions as it likes, and each is told with its name.
const MOST_BYTES: usize = 64 << 10;

/// The first of them for which there is room, each once.
#[derive(Default)]
pub(in crate::abi) struct Asks {
    all: Vec<Ask>,
    known: HashSet<Ask>,
    bytes: usize,
}

impl Asks {
    pub(in crate::abi) fn push(&mut self, target: [&str; 3]) {
        let bytes = target.iter().fold(self.bytes, |sum, part| sum.saturating_add(part.len()));
        if bytes > MOST_BYTES || self.all.len() == MOST {
            return;
        }
        let target = target.map(str::to_owned);
        if self.known.insert(target.clone()) {
            self.all.push(target);
            self.bytes = bytes;
        }
    }

    pub(in crate::abi) fn told(self) -> Vec<Ask> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_order_up_to_a_thousand_and_to_what_their_names_may_take() {
        let told = |names: &[String]| {
            let mut asks = Asks::default();
            names.iter().for_each(|name| asks.push(["wit", "a:b/c", name]));
            asks.told().into_iter().map(|[_, _, name]| name).collect::<Vec<_>>()
        };
        let names = |count: usize, bytes: usize| (0..count).map(|at| format!("{at:0bytes$}")).collect::<Vec<_>>();
        let thousand = names(1_000, 4);
        assert_eq!(told(&[thousand.clone(), thousand.clone()].concat()), thousand);
        assert_eq!(told(&names(1_001, 4)), thousand);
        // Eight bytes are the rest of each target's.
        assert_eq!(told(&names(100, 8_184)), names(8, 8_184));
        assert_eq!(told(&["x".repeat(MOST_BYTES), "y".into()]), ["y"]);
    }
}
