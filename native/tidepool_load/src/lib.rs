//! An open-loop load generator for TCP, HTTP and UDP servers.
//!
//! Starts are made when a schedule says so, never because an earlier one has ended, and latency is counted from the
//! time a start was *due*. So a server that stalls shows its stall, and a generator that is late shows its lateness.
//!
//! This crate depends on no other of the workspace. The binary is `tidepool-load`; the library has its entry point,
//! and the schedule for those who want to compute with it.

mod cli;
mod content;
mod error;
mod exit;
mod http;
mod limit;
mod net;
mod record;
mod report;
mod run;
pub mod schedule;
mod serve;
mod target;
mod tcp;
mod udp;
pub mod units;

pub use cli::main;
