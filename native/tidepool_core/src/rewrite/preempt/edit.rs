//! Changes to a module's code.

use super::bulk::Bulk;
use crate::rewrite::locals::Locals;

/// A change to the code, at a place in the module.
pub(super) struct Edit {
    pub(super) at: usize,
    /// Bytes that go.
    pub(super) removes: usize,
    pub(super) what: What,
}

pub(super) enum What {
    Check,
    /// A call of the function that stands for this instruction.
    Call(Bulk),
    /// The same, unless its length, for which this local has room, is short.
    CallIfLong(Bulk, u32),
    /// The number of a body's groups of locals.
    LocalGroups(u32),
    /// A group of one local.
    Local,
}

/// What gives a function one local more.
pub(super) fn with_one_more(locals: &Locals) -> [Edit; 2] {
    let groups = What::LocalGroups(locals.groups.saturating_add(1));
    [
        Edit { at: locals.range.start, removes: locals.number, what: groups },
        Edit { at: locals.range.end, removes: 0, what: What::Local },
    ]
}
