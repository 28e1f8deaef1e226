//! The operating system and its threads: scheduling, memory, per-thread data. Nothing here knows of guests.

pub mod buffers;
pub(crate) mod compile_pool;
pub(crate) mod drop_thread;
pub mod machine;
pub(crate) mod per_thread;
pub(crate) mod sched_attr;
pub(crate) mod thread_clock;
pub(crate) mod trim;
