//! How large the arguments are that functions are called with.

use wit_parser::Type;

use super::guest::{Filled, LARGEST};
use super::wit::{Item, Wit};

/// What of a function's arguments is as large as a guest says.
#[derive(Default, Clone, Copy)]
pub(super) struct Sizes {
    numbers: bool,
    texts: bool,
    lists: bool,
}

impl Sizes {
    pub(super) fn with(self, wit: &Wit, ty: &Type) -> Self {
        let is_number = *ty == Type::U64;
        let is_list = wit.is_list(ty);
        Sizes {
            numbers: self.numbers || is_number,
            texts: self.texts || (wit.is_sized(ty) && !is_list),
            lists: self.lists || is_list,
        }
    }

    pub(super) fn any(self) -> bool {
        self.numbers || self.texts || self.lists
    }

    /// Which guests call it: on which kind of a handle, with so many bytes, and what is in them.
    pub(super) fn all(self, item: &Item) -> Vec<(&'static str, usize, Filled)> {
        let is_stream = item.interface.starts_with("wasi:io/streams");
        let ways: &[&str] = if is_stream { &["", "body", "file"] } else { &[""] };
        let (sizes, contents): (&[usize], &[Filled]) = match self {
            Sizes { lists: true, .. } => (
                &[LARGEST, 8 << 20, 2 << 20, 64 << 10, 8 << 10, 4 << 10],
                &[Filled::Zeros, Filled::Ones, Filled::Lines],
            ),
            Sizes { texts: true, .. } => (&[LARGEST, 8 << 20, 64 << 10], &[Filled::Letters, Filled::Lines]),
            Sizes { numbers: true, .. } => (&[LARGEST, 64 << 10, 4 << 10], &[Filled::Zeros]),
            _ => return Vec::new(),
        };
        let each = ways.iter().flat_map(|way| sizes.iter().map(move |size| (*way, *size)));
        // Nobody takes a body: what flushes a piece of one that is small enough waits for good.
        let each = each.filter(|(way, size)| *way != "body" || *size > 8 << 10);
        each.flat_map(|(way, size)| contents.iter().map(move |filled| (way, size, *filled))).collect()
    }
}
