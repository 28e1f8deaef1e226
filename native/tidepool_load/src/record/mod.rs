//! What is written down while a run goes on.
//!
//! Each worker owns one [`SharedShard`] behind a lock nobody else takes but the live line, five times a second. Every start
//! ends in the shard exactly once: completed, or failed by a kind; what is still open when a shard is closed is
//! counted as aborted there, so that started = completed + failed holds whatever happened.

mod failure;
mod latency;
mod shard;
mod timeline;

pub(crate) use failure::{Failure, Failures};
pub(crate) use latency::Latencies;
pub(crate) use shard::{SharedShard, StepRecord};
pub(crate) use timeline::Timeline;
