//! What is behind a component's handles of `wasi:http` counts.

use tidepool_core::{Instances, Limit, Limits};

use super::limits::over;
use super::{call, int};
use crate::support::{Node, limits, wat};

const HEADERS: &str = include_str!("../../../../../guests/components/wat/headers.wat");

#[test]
fn headers_and_requests_that_a_guest_has_in_the_host_are_its_functions_memory_and_given_back() {
    let node = Node::small();
    let limits = Limits { memory_bytes: 16 << 20, total_memory_bytes: 4 << 20, ..limits() };
    for instances in [Instances::Fresh, Instances::Warm { max_idle: 2 }] {
        let function = node.function(&wat(HEADERS), instances, limits.clone());
        let has = |name: &str, count: i128| call(&function, name, vec![int(count)]);
        // 30,000 bytes of each, and 128 KiB.
        for (name, few, many) in [("fill", 60, 200), ("bodies", 12, 60)] {
            assert!(has(name, few).is_ok(), "{name}");
            let outcome = has(name, many);
            assert!(over(&outcome, Limit::TotalMemory, 4 << 20), "{name}: {outcome:?}");
        }
        assert!(has("fill", 60).is_ok(), "what was taken is given back");
    }
    node.assert_empty();
}
