//! What guests print reaches the console, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidepool_core::console::{Console, Line, MAX_LINE_BYTES, Stream};
use tidepool_core::{Instances, Limits, RuntimeConfig};

use crate::support::{self, Node, call, function, guest, limits};

#[test]
fn a_line_says_which_function_printed_it_and_where() {
    let node = Node::small();
    call(&node.fresh(&guest("rust/hello_world")), "log", b"good morning\r\n").unwrap();
    let expected =
        Line { function: "guest".into(), version: 1, stream: Stream::Console, text: "good morning".into(), dropped: 0 };
    assert_eq!(node.lines.take(), [expected]);
}

#[test]
fn a_line_is_cut_where_it_is_too_long_and_made_readable_where_it_is_no_text() {
    let node = Node::small();
    let function = node.fresh(&guest("rust/hello_world"));
    for len in [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 1 << 20] {
        call(&function, "log", &vec![b'x'; len]).unwrap();
        assert_eq!(node.lines.texts(), ["x".repeat(len.min(MAX_LINE_BYTES))]);
    }
    call(&function, "log", b"a\xffb").unwrap();
    assert_eq!(node.lines.texts(), ["a\u{fffd}b"]);
}

/// Prints `10 * lines` lines on a node where each function may print `lines` in a second; what came, and the count of
/// what did not by the metrics.
fn flood(lines: u32) -> (Vec<Line>, f64) {
    let node = Node::new(&RuntimeConfig { console_lines_per_s: lines, ..support::config() });
    let function = node.fresh(&guest("rust/hello_world"));
    for turn in 0..10 * lines {
        call(&function, "log", turn.to_string().as_bytes()).unwrap();
    }
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    let start = "tidepool_console_lines_dropped_total{function=\"guest\"} ";
    let dropped = text.lines().find_map(|line| line.strip_prefix(start)?.parse().ok()).unwrap();
    (node.lines.take(), dropped)
}

#[test]
fn lines_over_the_budget_are_dropped_and_each_is_accounted_for() {
    let (lines, dropped) = flood(50);
    assert!(lines.len() >= 50, "a function may print its budget at once");
    assert_eq!(lines.len() as f64 + dropped, 500.0);
    let mut expected = 0;
    for line in lines {
        expected += line.dropped;
        assert_eq!(line.text, expected.to_string(), "a line tells how many before it were dropped");
        expected += 1;
    }
}

#[test]
fn without_a_budget_nothing_is_printed() {
    let node = Node::new(&RuntimeConfig { console_lines_per_s: 0, ..support::config() });
    call(&node.fresh(&guest("rust/hello_world")), "log", b"anything").unwrap();
    assert!(node.lines.take().is_empty());
}

#[test]
fn a_guest_that_logs_without_end_prints_no_more_than_its_budget() {
    let node = Node::new(&RuntimeConfig { console_lines_per_s: 10, ..support::config() });
    let limits = Limits { cpu_time_ms: 50, ..limits() };
    call(&node.function(&guest("wat/log_flood"), Instances::Fresh, limits), "any", b"").unwrap_err();
    let printed = node.lines.take().len();
    // The budget fills up again while the guest runs, which on a busy machine may take a while.
    assert!((10..1_000).contains(&printed), "{printed} lines");
}

/// Has room for every third line.
#[derive(Default)]
struct Narrow {
    offered: AtomicUsize,
    taken: AtomicUsize,
    dropped: AtomicUsize,
}

impl Console for Narrow {
    fn print(&self, line: Line) -> Result<(), Line> {
        if self.offered.fetch_add(1, Ordering::Relaxed) % 3 != 2 {
            return Err(line);
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.dropped.fetch_add(line.dropped as usize, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn lines_that_the_console_has_no_room_for_are_told_with_the_next_one() {
    let narrow = Arc::new(Narrow::default());
    let (runtime, _io) = support::start(&support::config(), Arc::clone(&narrow) as Arc<dyn Console>);
    let hello = function(&runtime, &guest("rust/hello_world"), Instances::Fresh, limits()).unwrap();
    for _ in 0..30 {
        call(&hello, "log", b"line").unwrap();
    }
    assert_eq!(narrow.taken.load(Ordering::Relaxed), 10);
    assert_eq!(narrow.dropped.load(Ordering::Relaxed), 20);
}
