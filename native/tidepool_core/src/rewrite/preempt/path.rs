//! How long the slowest way through a function's code takes, from the last check to where it stands.

use super::cost::{BUDGET, Cost, TAIL_BUDGET};

/// The slowest way to a place in the code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Path {
    /// Since the last check.
    since_check: u64,
    /// Since the last check or call.
    since_call: u64,
    /// Has it called a function since the last check?
    called: bool,
}

/// What there is to be known of a block while its code is read.
struct Frame {
    /// Where it was entered.
    entry: Option<Path>,
    /// Ways that leave it by a branch.
    exit: Option<Path>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Loop,
    /// Without an `else` so far.
    If,
}

/// The ways through one function. Branches back go to loop heads, where a check is, so one pass sees all of them.
pub(super) struct Paths {
    frames: Vec<Frame>,
    /// `None` where no way leads.
    here: Option<Path>,
}

impl Path {
    fn slower(one: Option<Path>, other: Option<Path>) -> Option<Path> {
        let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
        let since_call = match (one.called, other.called) {
            // What has passed without a call matters to no caller.
            (true, false) => one.since_call,
            (false, true) => other.since_call,
            _ => one.since_call.max(other.since_call),
        };
        Some(Path {
            since_check: one.since_check.max(other.since_check),
            since_call,
            called: one.called || other.called,
        })
    }
}

impl Paths {
    /// At the function's entry, where a check is.
    pub(super) fn new() -> Self {
        let mut paths = Paths { frames: Vec::new(), here: Some(Path::default()) };
        paths.enter(Kind::Block);
        paths
    }

    /// Does any way lead here?
    pub(super) fn lead_here(&self) -> bool {
        self.here.is_some()
    }

    /// Would `cost` more be too much without a check before it?
    pub(super) fn needs_check(&self, cost: Cost) -> bool {
        self.here.is_some_and(|path| path.since_check > 0 && path.since_check + cost.check > BUDGET)
    }

    /// Would a return here leave the caller with too much?
    pub(super) fn needs_check_to_return(&self) -> bool {
        self.here.is_some_and(|path| path.called && path.since_call > TAIL_BUDGET)
    }

    pub(super) fn check(&mut self) {
        self.here = self.here.map(|_| Path::default());
    }

    pub(super) fn spend(&mut self, cost: Cost) {
        if let Some(path) = &mut self.here {
            path.since_check += cost.check;
            path.since_call += cost.tail;
        }
    }

    /// A function was called that begins with a check.
    pub(super) fn call(&mut self) {
        self.here = self.here.map(|_| Path { called: true, ..Path::default() });
    }

    /// A function was called that may begin with a check or be the host's.
    pub(super) fn call_either(&mut self) {
        if let Some(path) = &mut self.here {
            path.called = true;
        }
    }

    /// A function was called that begins with a check, or `cost` was spent instead.
    pub(super) fn call_or_spend(&mut self, cost: Cost) {
        let entry = self.here;
        self.call();
        let called = std::mem::replace(&mut self.here, entry);
        self.spend(cost);
        self.here = Path::slower(self.here, called);
    }

    pub(super) fn block(&mut self) {
        self.enter(Kind::Block);
    }

    pub(super) fn begin_if(&mut self) {
        self.enter(Kind::If);
    }

    pub(super) fn begin_loop(&mut self) {
        self.check();
        self.enter(Kind::Loop);
    }

    pub(super) fn begin_else(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.exit = Path::slower(frame.exit, self.here);
            frame.kind = Kind::Block;
            self.here = frame.entry;
        }
    }

    pub(super) fn end(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        self.here = Path::slower(self.here, frame.exit);
        if frame.kind == Kind::If {
            self.here = Path::slower(self.here, frame.entry);
        }
    }

    /// A way leads from here to the end of the block `depth` further out; to a loop's head it ends with a check.
    pub(super) fn branch(&mut self, depth: u32) {
        let index = usize::try_from(depth).ok().and_then(|depth| self.frames.len().checked_sub(depth + 1));
        if let Some(frame) = index.and_then(|index| self.frames.get_mut(index))
            && frame.kind != Kind::Loop
        {
            frame.exit = Path::slower(frame.exit, self.here);
        }
    }

    /// Does a branch to `depth` return from the function?
    pub(super) fn returns(&self, depth: u32) -> bool {
        usize::try_from(depth).is_ok_and(|depth| depth + 1 >= self.frames.len())
    }

    /// No way leads on from here.
    pub(super) fn leave(&mut self) {
        self.here = None;
    }

    fn enter(&mut self, kind: Kind) {
        self.frames.push(Frame { entry: self.here, exit: None, kind });
    }
}
