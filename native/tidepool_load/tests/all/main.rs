//! `tidepool-load` from the outside: the binary is run against servers on the loopback, a few at a time, all bounded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod faults;
mod http;
mod limit;
mod report;
mod schedule;
mod support;
mod tcp;
mod udp;
