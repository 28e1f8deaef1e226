//! What all instances of a function share: its name, its limits, its budgets and its counters.

use std::sync::Arc;
use std::time::Instant;

use crate::base::config::FolderConfig;
use crate::base::console::{Console, Line, MAX_LINE_BYTES, Stream};
use crate::base::grants::Grants;
use crate::base::host_grants::HostGrants;
use crate::base::limits::Limits;
use crate::base::origin::{Origin, Start};
use crate::base::trap::Exported;
use crate::metrics::counters::FunctionStats;
use crate::os::drop_thread::DropThread;
use crate::store::line_budget::LineBudget;
use crate::store::memory_budget::MemoryBudget;

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
    pub(crate) stats: Arc<FunctionStats>,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) budget: Arc<LineBudget>,
    pub(crate) drop_thread: DropThread,
    /// The function's own budget of linear memory, if it is smaller than the node's.
    pub(crate) own_memory: Option<Arc<MemoryBudget>>,
    pub(crate) node_memory: Arc<MemoryBudget>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) exported: Arc<Exported>,
}

impl FunctionContext {
    /// Reserves linear memory for an instance.
    pub(crate) fn reserve_memory(&self, bytes: u64) -> bool {
        let own = self.own_memory.as_deref();
        if !own.is_none_or(|own| own.reserve(bytes)) {
            return false;
        }
        let reserved = self.node_memory.reserve(bytes);
        if let (Some(own), false) = (own, reserved) {
            own.release(bytes);
        }
        reserved
    }

    pub(crate) fn release_memory(&self, bytes: u64) {
        if let Some(own) = &self.own_memory {
            own.release(bytes);
        }
        self.node_memory.release(bytes);
    }

    /// The limit that an instance has reached when it was refused memory: the smaller of the function's and the node's.
    pub(crate) fn total_memory_bytes(&self) -> u64 {
        self.limits.total_memory_bytes.min(self.node_memory.limit())
    }

    /// Passes a printed line on to the console, within the function's budget.
    pub(crate) fn print(&self, stream: Stream, text: &[u8]) {
        let Some(dropped) = self.budget.take(Instant::now()) else {
            self.stats.count_dropped_line();
            return;
        };
        let line =
            Line { function: self.name.to_string(), version: self.version, stream, text: line_text(text), dropped };
        if self.console.print(line).is_err() {
            self.stats.count_dropped_line();
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
            stats: Arc::default(),
            console: Arc::new(Mute),
            budget: Arc::new(LineBudget::new(0)),
            drop_thread: DropThread::none(),
            own_memory: None,
            node_memory: Arc::new(MemoryBudget::new(0)),
            origin: Arc::new(Origin::of(Start::Nothing)),
            exported: Arc::default(),
        }
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
