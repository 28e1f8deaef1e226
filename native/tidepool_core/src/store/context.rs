//! What all instances of a function share: its name, its limits, its budgets and its counters.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::base::config::FolderConfig;
use crate::base::console::{Console, KeptLine, LINES, Line, MAX_LINE_BYTES, Stream};
use crate::base::error::CallError;
use crate::base::fair_share::{Common, Takers};
use crate::base::grants::Grants;
use crate::base::host_grants::HostGrants;
use crate::base::limits::{Limit, Limits};
use crate::base::origin::{Origin, Start};
use crate::base::trap::Symbols;
use crate::metrics::counters::VersionStats;
use crate::metrics::recent::Recent;
use crate::os::drop_thread::DropThread;
use crate::recording::policy::Policy;
use crate::store::line_budget::LineBudget;
use crate::store::memory_budget::MemoryBudget;

/// Idle instances, which go where what they have is needed.
pub(crate) trait IdleInstances: Send + Sync {
    /// Has them go until a function's namespace and the node have so many bytes; `false` when that is not enough.
    fn go_for(&self, function: &str, bytes: u64) -> bool;
}

/// What all instances of a function share.
#[derive(Clone)]
pub(crate) struct FunctionContext {
    pub(crate) name: Arc<str>,
    pub(crate) version: u64,
    pub(crate) limits: Limits,
    /// What its guests may ask of the host.
    pub(crate) host: Arc<HostGrants>,
    /// What its programs may do with the network.
    pub(crate) grants: Arc<Grants>,
    /// The folders that its programs find.
    pub(crate) folders: Arc<[FolderConfig]>,
    /// Texts that its guests may ask for by name.
    pub(crate) config: Arc<HashMap<Box<str>, Box<str>>>,
    /// The buckets of keys and values that its guests may open.
    pub(crate) keyvalue: Arc<[Arc<str>]>,
    /// Bytes of the texts of all these, here and where its caller has them: they count with its code.
    pub(crate) text_bytes: usize,
    pub(crate) stats: Arc<VersionStats>,
    pub(crate) console: Arc<dyn Console>,
    /// Where lines are kept; `None` when they are for somebody else than the console of the node.
    pub(crate) lines: Option<Arc<Recent<KeptLine, LINES>>>,
    /// Whether failures are kept with the beginning of their payload.
    pub(crate) keep_payloads: bool,
    /// Which of its calls are recorded, if any are.
    pub(crate) record: Option<Arc<Policy>>,
    pub(crate) budget: Arc<LineBudget>,
    pub(crate) drop_thread: DropThread,
    /// The function's own budget of linear memory, if it is smaller than the node's.
    pub(crate) own_memory: Option<Arc<MemoryBudget>>,
    /// That of what its programs have on the host: as much again.
    pub(crate) own_host_memory: Option<Arc<MemoryBudget>>,
    /// The budget that the functions of its namespace share, where they have one.
    pub(crate) namespace_memory: Option<Arc<MemoryBudget>>,
    pub(crate) node_memory: Arc<MemoryBudget>,
    /// Those that go for what is kept on the host. The node's pools, which have contexts such as this one.
    pub(crate) idle: Weak<dyn IdleInstances>,
    /// Stacks beside those of instances, and the bytes of one.
    pub(crate) stacks: Takers,
    pub(crate) stack_bytes: usize,
    pub(crate) origin: Arc<Origin>,
    pub(crate) symbols: Arc<Symbols>,
}

impl FunctionContext {
    /// The budgets that an instance's memory is of, the narrowest first.
    fn budgets(&self) -> [Option<&MemoryBudget>; 3] {
        [self.own_memory.as_deref(), self.namespace_memory.as_deref(), Some(&*self.node_memory)]
    }

    /// Those of what is kept on the host beside that.
    fn host_budgets(&self) -> [Option<&MemoryBudget>; 3] {
        [self.own_host_memory.as_deref(), self.namespace_memory.as_deref(), Some(&*self.node_memory)]
    }

    /// Reserves linear memory for an instance.
    pub(crate) fn reserve_memory(&self, bytes: u64) -> bool {
        reserve(self.budgets(), bytes)
    }

    pub(crate) fn release_memory(&self, bytes: u64) {
        release(self.budgets(), bytes);
    }

    /// Reserves memory for what is kept on the host beside linear memory. Idle instances go for it.
    pub(crate) fn hold_on_host(&self, bytes: usize) -> bool {
        let bytes = in_64_bits(bytes);
        let held = reserve(self.host_budgets(), bytes)
            || self.own_host_memory.as_ref().is_none_or(|own| own.has(bytes))
                && self.idle.upgrade().is_some_and(|idle| idle.go_for(&self.name, bytes))
                && reserve(self.host_budgets(), bytes);
        if held {
            self.stats.hold_on_host(bytes);
        }
        held
    }

    /// The same for what can be done without, as more of what has `held` bytes: no idle instance goes for it, and as much has to be left.
    pub(crate) fn hold_spare_on_host(&self, bytes: usize, held: usize) -> bool {
        let (bytes, held) = (in_64_bits(bytes), in_64_bits(held));
        let wanted = bytes.saturating_mul(2).saturating_add(held);
        let is_spare = self.host_budgets().into_iter().flatten().all(|budget| budget.has(wanted));
        let taken = is_spare && reserve(self.host_budgets(), bytes);
        if taken {
            self.stats.hold_on_host(bytes);
        }
        taken
    }

    /// The same for what is there already.
    pub(crate) fn keep_on_host(&self, bytes: usize) {
        let bytes = in_64_bits(bytes);
        self.host_budgets().into_iter().flatten().for_each(|budget| budget.force(bytes));
        self.stats.hold_on_host(bytes);
    }

    /// The most that there may be of it.
    pub(crate) fn host_limit(&self) -> u64 {
        narrowest(self.host_budgets())
    }

    pub(crate) fn release_on_host(&self, bytes: usize) {
        let bytes = in_64_bits(bytes);
        release(self.host_budgets(), bytes);
        self.stats.release_on_host(bytes);
    }

    /// A stack for an instance beside its own.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] when its engine has none for the function, and [`CallError::Limit`] when there is no memory for it.
    pub(crate) fn further_stack(self: &Arc<Self>) -> Result<FurtherStack, CallError> {
        if !self.stacks.take() {
            let message = "there is no stack for one more call whose traps are caught".into();
            return Err(CallError::Overloaded { message });
        }
        if !self.hold_on_host(self.stack_bytes) {
            self.stacks.give_back();
            return Err(CallError::limit(Limit::TotalMemory, self.total_memory_bytes()));
        }
        Ok(FurtherStack(Arc::clone(self)))
    }

    /// The limit that an instance has reached when it was refused memory: the smallest of the function's, its namespace's and the
    /// node's.
    pub(crate) fn total_memory_bytes(&self) -> u64 {
        narrowest(self.budgets()).min(self.limits.total_memory_bytes)
    }

    /// Was the function removed? What it does then is not the next one's of its name.
    pub(crate) fn is_removed(&self) -> bool {
        self.stats.function.is_removed(self.version)
    }

    /// Passes a printed line on to the console, within the function's budget.
    pub(crate) fn print(&self, stream: Stream, text: &[u8]) {
        let Some(dropped) = self.budget.take(Instant::now()) else {
            self.stats.function.count_dropped_line();
            return;
        };
        let line =
            Line { function: self.name.to_string(), version: self.version, stream, text: line_text(text), dropped };
        if let Some(lines) = &self.lines {
            let kept = line.kept();
            lines.push(&self.name, kept.text.len(), kept, || self.is_removed());
        }
        if self.console.print(line).is_err() {
            self.stats.function.count_dropped_line();
            self.budget.give_back(dropped);
        }
    }

    /// The context of no function, for stores in which nothing runs.
    pub(crate) fn detached() -> Self {
        FunctionContext {
            name: "".into(),
            version: 0,
            limits: Limits::NONE,
            host: Arc::new(HostGrants::All),
            grants: Arc::default(),
            folders: Arc::default(),
            config: Arc::default(),
            keyvalue: Arc::default(),
            text_bytes: 0,
            stats: Arc::default(),
            console: Arc::new(Mute),
            lines: None,
            keep_payloads: false,
            record: None,
            budget: Arc::new(LineBudget::new(0)),
            drop_thread: DropThread::none(),
            own_memory: None,
            own_host_memory: None,
            namespace_memory: None,
            node_memory: Arc::new(MemoryBudget::new(0)),
            idle: Weak::<NoneIdle>::new(),
            stacks: Takers::new(&Common::new(0), Vec::new(), &Arc::default()),
            stack_bytes: 0,
            origin: Arc::new(Origin::of(Start::Nothing)),
            symbols: Arc::default(),
        }
    }
}

/// A stack beside an instance's own, until it is dropped.
pub(crate) struct FurtherStack(Arc<FunctionContext>);

impl Drop for FurtherStack {
    fn drop(&mut self) {
        self.0.release_on_host(self.0.stack_bytes);
        self.0.stacks.give_back();
    }
}

fn reserve(budgets: [Option<&MemoryBudget>; 3], bytes: u64) -> bool {
    let budgets = || budgets.into_iter().flatten();
    let refused = budgets().position(|budget| !budget.reserve(bytes));
    if let Some(refused) = refused {
        budgets().take(refused).for_each(|budget| budget.release(bytes));
    }
    refused.is_none()
}

fn release(budgets: [Option<&MemoryBudget>; 3], bytes: u64) {
    budgets.into_iter().flatten().for_each(|budget| budget.release(bytes));
}

/// The limit of the narrowest.
fn narrowest(budgets: [Option<&MemoryBudget>; 3]) -> u64 {
    budgets.into_iter().flatten().map(MemoryBudget::limit).fold(u64::MAX, u64::min)
}

fn in_64_bits(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// No idle instances.
struct NoneIdle;

impl IdleInstances for NoneIdle {
    fn go_for(&self, _function: &str, _bytes: u64) -> bool {
        false
    }
}

/// Takes no line.
struct Mute;

impl Console for Mute {
    fn print(&self, line: Line) -> Result<(), Line> {
        Err(line)
    }
}

/// Cuts `text` to [`MAX_LINE_BYTES`] and makes it UTF-8.
fn line_text(text: &[u8]) -> String {
    let kept = text.get(..MAX_LINE_BYTES).unwrap_or(text);
    String::from_utf8_lossy(kept).trim_end_matches(['\n', '\r']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_bytes_that_are_no_utf8_are_replaced() {
        assert_eq!(line_text(&[b'x'; MAX_LINE_BYTES + 1]).len(), MAX_LINE_BYTES);
        assert_eq!(line_text(b"a\xffb\n"), "a\u{fffd}b");
    }
}
