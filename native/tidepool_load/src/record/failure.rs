//! The kinds of failure a start can end in, and how an error of the operating system becomes one.

use std::collections::BTreeMap;
use std::io;

/// How a start ended if it was not completed. The names are those of the report's `failed` map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// Nobody listens there.
    Refused,
    /// The other end broke the connection.
    Reset,
    /// Not done within `--timeout`.
    Timeout,
    /// A datagram that was never answered.
    Lost,
    /// No way to the address.
    Unreachable,
    /// Every client port towards the target is in use.
    PortsExhausted,
    /// The process may open no more files.
    TooManyFiles,
    /// The system gives no more threads.
    TooManyThreads,
    /// The answer is not the one that was expected.
    WrongContent,
    /// The HTTP status, which is this one, is not the one that was expected.
    WrongStatus(u16),
    /// The answer is no HTTP.
    Protocol,
    /// The other end closed a connection that was to be held.
    ClosedEarly,
    /// Still open when the run ended.
    Aborted,
    /// Anything else the system said.
    Other,
}

impl Failure {
    /// Every kind, in the order of the report; of wrong statuses any.
    pub(crate) const ALL: [Failure; 14] = [
        Failure::Refused,
        Failure::Reset,
        Failure::Timeout,
        Failure::Lost,
        Failure::Unreachable,
        Failure::PortsExhausted,
        Failure::TooManyFiles,
        Failure::TooManyThreads,
        Failure::WrongContent,
        Failure::WrongStatus(0),
        Failure::Protocol,
        Failure::ClosedEarly,
        Failure::Aborted,
        Failure::Other,
    ];

    /// The key in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::Reset => "reset",
            Failure::Timeout => "timeout",
            Failure::Lost => "lost",
            Failure::Unreachable => "unreachable",
            Failure::PortsExhausted => "ports_exhausted",
            Failure::TooManyFiles => "too_many_files",
            Failure::TooManyThreads => "too_many_threads",
            Failure::WrongContent => "wrong_content",
            Failure::WrongStatus(_) => "wrong_status",
            Failure::Protocol => "protocol",
            Failure::ClosedEarly => "closed_early",
            Failure::Aborted => "aborted",
            Failure::Other => "other",
        }
    }

    /// Its place in [`Failure::ALL`].
    fn index(self) -> usize {
        let same = |other: &Failure| std::mem::discriminant(other) == std::mem::discriminant(&self);
        Failure::ALL.iter().position(same).unwrap_or(Failure::ALL.len())
    }

    /// What to do about it, for the kinds that are the generator's own limits and not the server's.
    pub(crate) fn own_limit(self) -> Option<&'static str> {
        match self {
            Failure::PortsExhausted => Some(
                "client ports ran out (EADDRNOTAVAIL): give more source addresses (--bind 127.0.0.2,127.0.0.3), \
                 use --linger0, or ask for a lower rate",
            ),
            Failure::TooManyFiles => {
                Some("open files ran out (EMFILE): raise `ulimit -n`, or ask for a lower rate or a shorter --timeout")
            }
            Failure::TooManyThreads => {
                Some("threads ran out: ask for a lower rate, or take another --runtime than threads")
            }
            _ => None,
        }
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Failure {
        use rustix::io::Errno;
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => return Failure::PortsExhausted,
            Some(Errno::MFILE | Errno::NFILE) => return Failure::TooManyFiles,
            _ => {}
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Failure::Reset,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::Timeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Failure::Unreachable,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Failure::PortsExhausted,
            io::ErrorKind::UnexpectedEof => Failure::WrongContent,
            _ => Failure::Other,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::from(&error)
    }
}

/// A counter per kind, and per wrong status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    kinds: [u64; Failure::ALL.len()],
    statuses: BTreeMap<u16, u64>,
}

impl Failures {
    /// Counts some of one kind.
    pub(crate) fn add(&mut self, failure: Failure, count: u64) {
        if let Some(slot) = self.kinds.get_mut(failure.index()) {
            *slot += count;
        }
        if let Failure::WrongStatus(status) = failure {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    /// How many of one kind.
    pub(crate) fn count(&self, failure: Failure) -> u64 {
        self.kinds.get(failure.index()).copied().unwrap_or(0)
    }

    /// How many of all kinds.
    pub(crate) fn total(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Failures) {
        for (mine, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            *mine += theirs;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }

    /// The kinds that happened, with their counts.
    pub(crate) fn nonzero(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        Failure::ALL.into_iter().zip(self.kinds).filter(|(_, count)| *count > 0)
    }

    /// The wrong statuses that came, with their counts.
    pub(crate) fn statuses(&self) -> &BTreeMap<u16, u64> {
        &self.statuses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_error_has_its_kind() {
        for (errno, failure) in [
            (rustix::io::Errno::CONNREFUSED, Failure::Refused),
            (rustix::io::Errno::CONNRESET, Failure::Reset),
            (rustix::io::Errno::PIPE, Failure::Reset),
            (rustix::io::Errno::TIMEDOUT, Failure::Timeout),
            (rustix::io::Errno::ADDRNOTAVAIL, Failure::PortsExhausted),
            (rustix::io::Errno::MFILE, Failure::TooManyFiles),
            (rustix::io::Errno::HOSTUNREACH, Failure::Unreachable),
            (rustix::io::Errno::NOTTY, Failure::Other),
        ] {
            assert_eq!(Failure::from(io::Error::from(errno)), failure, "{errno:?}");
        }
    }

    #[test]
    fn wrong_statuses_are_counted_each_and_together() {
        let (mut failures, mut others) = (Failures::default(), Failures::default());
        failures.add(Failure::WrongStatus(503), 2);
        failures.add(Failure::Reset, 5);
        others.add(Failure::WrongStatus(503), 1);
        others.add(Failure::WrongStatus(504), 4);
        failures.merge(&others);
        assert_eq!(failures.statuses(), &BTreeMap::from([(503, 3), (504, 4)]));
        assert_eq!(failures.count(Failure::WrongStatus(503)), 7, "of all statuses");
        assert_eq!(failures.total(), 12);
    }

    #[test]
    fn every_kind_has_its_own_counter_and_name() {
        let mut failures = Failures::default();
        for (k, failure) in Failure::ALL.into_iter().enumerate() {
            failures.add(failure, k as u64 + 1);
        }
        for (k, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failures.count(failure), k as u64 + 1);
        }
        let names: std::collections::BTreeSet<_> = Failure::ALL.iter().map(|failure| failure.name()).collect();
        assert_eq!(names.len(), Failure::ALL.len());
        assert_eq!(failures.total(), (1..=Failure::ALL.len() as u64).sum::<u64>());
    }
}
