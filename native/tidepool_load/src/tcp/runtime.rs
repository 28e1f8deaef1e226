//! The choice of runtime, and whether it is there.

use std::fmt;

use crate::error::InputError;

/// What carries the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RuntimeKind {
    /// tokio on epoll, one current-thread runtime per worker.
    Tokio,
    /// smol on epoll, one local executor per worker over one reactor.
    Smol,
    /// compio on io_uring, one ring per worker (Linux 5.19 or later).
    #[value(name = "io_uring", alias = "io-uring", alias = "uring")]
    IoUring,
    /// A plain blocking thread per connection: the baseline.
    Threads,
}

impl RuntimeKind {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RuntimeKind::Tokio => "tokio",
            RuntimeKind::Smol => "smol",
            RuntimeKind::IoUring => "io_uring",
            RuntimeKind::Threads => "threads",
        }
    }

    /// Says so if this machine doesn't have it.
    pub(crate) fn check(self) -> Result<(), InputError> {
        match self {
            RuntimeKind::IoUring => probe().map_err(|why| InputError::NoRuntime { name: self.name(), why }),
            RuntimeKind::Tokio | RuntimeKind::Smol | RuntimeKind::Threads => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
fn probe() -> Result<(), String> {
    crate::net::UringNet::probe().map_err(|error| format!("the kernel gives no ring: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn probe() -> Result<(), String> {
    Err("it is Linux only".to_owned())
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
