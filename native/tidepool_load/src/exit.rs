//! The exit codes, which are part of the interface. If several apply, the first of 130, 2, 3, 1 wins: a generator that
//! failed says nothing about the server.

/// The run was made and every assertion held.
pub(crate) const OK: u8 = 0;
/// An assertion (`--max-p99`, `--max-errors`) did not hold.
pub(crate) const ASSERTION: u8 = 1;
/// Bad input, or the generator ran out of ports, files or threads.
pub(crate) const INPUT: u8 = 2;
/// The generator could not keep the rate; the latencies contain its own lateness.
pub(crate) const RATE: u8 = 3;
/// An error of the tool itself or of the system under it.
pub(crate) const INTERNAL: u8 = 4;
/// Ended by Ctrl-C or SIGTERM; the report is of what was done until then.
pub(crate) const INTERRUPTED: u8 = 130;
