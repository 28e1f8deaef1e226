//! What can be wrong with what the user asked for: one line each, which says what to do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Bad input; the process ends with exit code 2 and leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The name does not resolve.
    #[error("no such host as `{host}` ({source}): check the name, or give an address like 127.0.0.1:4000")]
    NoSuchHost {
        /// What was asked for.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Not of the form HOST:PORT.
    #[error("`{0}` is no address: write HOST:PORT, for example 127.0.0.1:4000")]
    NoAddress(String),
    /// The target is not this machine, and nobody allowed that.
    #[error("{addr} is not on the loopback; if you may load it, repeat it: --yes-i-may-load {asked}")]
    NotLoopback {
        /// Where the name leads.
        addr: SocketAddr,
        /// What was asked for.
        asked: String,
    },
    /// A URL that is none, or not `http`.
    #[error("`{0}` is no URL this tool can load: write http://HOST:PORT/PATH (https is not supported)")]
    Url(String),
    /// A file that can't be read.
    #[error("can't read {path}: {source}; check the name and its permissions")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More content than is sent or expected.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}: use less")]
    TooLarge {
        /// Where the content comes from.
        what: String,
        /// How much it is.
        bytes: u64,
        /// How much it may be.
        limit: u64,
    },
    /// A report that can't be written where it is wanted.
    #[error("can't write {path}: {source}; name a file in a directory that exists and is yours")]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A source address this machine doesn't have.
    #[error("can't send from {addr} ({source}): --bind takes addresses of this machine, like 127.0.0.2")]
    Bind {
        /// Which one.
        addr: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// Sources of the other address family.
    #[error("--bind {bind} and the target {target} are of different families: use IPv4 for both or IPv6 for both")]
    Family {
        /// The source.
        bind: IpAddr,
        /// The target.
        target: SocketAddr,
    },
    /// A runtime that isn't there.
    #[error("the runtime {name} isn't there ({why}): take --runtime tokio")]
    NoRuntime {
        /// Which one.
        name: &'static str,
        /// Why not.
        why: String,
    },
    /// More flows than files.
    #[error("{flows} flows need {flows} open files and the limit is {limit}: raise `ulimit -n` or use fewer --flows")]
    TooManyFlows {
        /// Asked for.
        flows: u64,
        /// Allowed.
        limit: u64,
    },
    /// A port that can't be served.
    #[error("can't listen on {addr}: {source}; take another port, or one of this machine's addresses")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Two options that don't go together, or one that is out of its range.
    #[error("{0}")]
    Options(String),
    /// The generator's own limit was met during the run.
    #[error("{0}")]
    OwnLimit(&'static str),
    /// A signal handler, a thread or the like could not be had.
    #[error("the system refused what every run needs: {0}; try again with fewer --threads")]
    System(#[from] io::Error),
}
