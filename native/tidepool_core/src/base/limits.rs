//! What one instance of a function may use, and what its caller may ask of it.

use std::time::Duration;

/// How long a trial may take, whatever its function's limits say: it has places that are few.
pub(crate) const TRIAL_MS: u64 = 60_000;

/// How many trials may be under way at a time beyond what calls have: of an engine, and of a namespace with quotas.
pub(crate) const TRIALS: usize = 4;

/// What an element of a table takes.
pub(crate) const ELEMENT_BYTES: usize = 8;

/// What the tables of an instance may take before they count as memory: no more than its stack and its store, which don't count either.
/// Most modules have no larger ones.
pub(crate) const FREE_TABLE_BYTES: usize = 64 << 10;

/// Longest text that a guest says why it has failed by: a scheduler writes it in one go, as JSON, of which a byte takes six.
pub(crate) const ERROR_BYTES: usize = 16 << 10;

/// A module's memory, and one that its ABI gives it. A place of an engine has as many.
pub(crate) const MAX_MEMORIES_PER_MODULE: u32 = 2;

/// How many stacks an engine has beside those of the instances that may live on it: a call whose traps its guest catches runs on one.
pub(crate) const fn further_stacks(instances: usize) -> usize {
    let share = instances / 8;
    if share > 64 { share } else { 64 }
}

/// Limits of one function, in force for each of its instances and calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest linear memory of an instance, in bytes.
    pub memory_bytes: u64,
    /// Most elements of one table of an instance.
    pub table_elements: u32,
    /// Wall time of one call, in ms, from its start to its reply, waiting and host calls included.
    pub time_ms: u64,
    /// Time that one call may spend computing, in ms.
    pub cpu_time_ms: u64,
    /// Largest payload that enters the guest (of a call, or in the reply to a host call), in bytes.
    pub payload_bytes: u64,
    /// Largest message that leaves the guest (its reply, or the payload of a host call), in bytes.
    pub reply_bytes: u64,
    /// How many calls may be nested through host calls, the outermost counted as 1.
    pub depth: u32,
    /// Most live instances of the function, of those that the node has.
    pub instances: u32,
    /// Most calls that wait for one of [`Limits::instances`].
    pub queue: usize,
    /// Most linear memory of all live instances of the function together, of what the node has, in bytes.
    ///
    pub total_memory_bytes: u64,
    /// Longest time, in ms, in which the client of a handler takes nothing of a response that is there for it, or sends nothing of a
    /// body that is waited for.
    pub client_idle_ms: u64,
}

impl Limits {
    /// Those of a store in which nothing runs.
    pub(crate) const NONE: Self = Limits {
        memory_bytes: 0,
        table_elements: 0,
        time_ms: 0,
        cpu_time_ms: 0,
        payload_bytes: 0,
        reply_bytes: 0,
        depth: 0,
        instances: 0,
        queue: 0,
        total_memory_bytes: 0,
        client_idle_ms: 0,
    };

    /// How long a client may be idle; `None` where a call's time is over before.
    pub(crate) fn client_idle(&self) -> Option<Duration> {
        (self.client_idle_ms < self.time_ms).then_some(Duration::from_millis(self.client_idle_ms))
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        Duration::from_millis(self.cpu_time_ms)
    }

    /// Does `len` fit into `limit` bytes?
    pub(crate) fn fits(len: usize, limit: u64) -> bool {
        u64::try_from(len).is_ok_and(|len| len <= limit)
    }
}

/// Which quota of its function's namespace a call ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// [`NamespaceConfig::instances`](crate::NamespaceConfig::instances).
    Instances,
    /// [`NamespaceConfig::memory_bytes`](crate::NamespaceConfig::memory_bytes).
    Memory,
    /// [`NamespaceConfig::calls_per_s`](crate::NamespaceConfig::calls_per_s).
    Calls,
}

impl Quota {
    /// The name that users see; the same as that of the setting.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Quota::Instances => "instances",
            Quota::Memory => "memory",
            Quota::Calls => "calls_per_second",
        }
    }
}

/// Which limit a call ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Limits::memory_bytes`]; the guest was refused memory and failed over it.
    Memory,
    /// [`Limits::table_elements`]; the guest was refused table elements and failed over it.
    Table,
    /// [`Limits::cpu_time_ms`].
    CpuTime,
    /// [`Limits::payload_bytes`].
    Payload,
    /// [`Limits::reply_bytes`].
    Reply,
    /// [`Limits::depth`].
    Depth,
    /// [`Limits::total_memory_bytes`], or what all instances of the namespace or the node may have: the guest was refused memory, or its
    /// program has as much on the host.
    TotalMemory,
    /// What all processes of a program together may compute.
    TotalCpuTime,
    /// What a process may have in its mailbox, its timers, or its links and monitors.
    Messages,
}

impl Limit {
    /// The name that users see; the same as that of the setting.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Limit::Memory => "memory",
            Limit::Table => "table",
            Limit::CpuTime => "cpu_time",
            Limit::Payload => "payload",
            Limit::Reply => "reply",
            Limit::Depth => "depth",
            Limit::TotalMemory => "total_memory",
            Limit::TotalCpuTime => "total_cpu_time",
            Limit::Messages => "messages",
        }
    }

    /// What can be done about it, where its name does not say that.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Limit::Messages => {
                ": a process has to receive what it is sent, and to have less in timers, links and monitors"
            }
            Limit::TotalMemory => {
                ": it counts the memory of instances, and what programs have on the host, such as messages, timers, links, \
                 monitors, names and handles, of which one has 1 GiB at most; all is within what the namespace and the \
                 node have"
            }
            _ => "",
        }
    }

    /// The unit of the limit's figure.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Limit::Memory | Limit::TotalMemory | Limit::Payload | Limit::Reply | Limit::Messages => "bytes",
            Limit::Table => "elements",
            Limit::CpuTime | Limit::TotalCpuTime => "ms",
            Limit::Depth => "nested calls",
        }
    }
}
