//! Every reason that an error of Tidepool's can have, and what holds for it: one table, `errors.tsv`, of which [`Reason`] is made.
//!
//! Elixir makes its own types and lists of the same file (`Tidepool.Error.Reason`). What raises errors, what answers them and what
//! is told of them name reasons from here, and have no lists of their own.

include!(concat!(env!("OUT_DIR"), "/reason.rs"));

/// What an error can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A call of a function.
    Call,
    /// A deploy.
    Deploy,
    /// Another node, which is to be forgotten.
    Node,
    /// A guest's process.
    Process,
    /// An actor.
    Actor,
    /// A token that is made or revoked.
    Token,
    /// The start of a node.
    Start,
    /// A request that the edge refuses by itself.
    Edge,
}

/// When the same may go otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// In a second or so.
    Soon,
    /// Once the node has what it lacks.
    Later,
    /// Once another version is deployed.
    Deploy,
    /// Not as long as the question is the same.
    Never,
}

/// What else holds for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A call that fails with it has a line in the node's log.
    Logged,
    /// What it says of the host is not for guests.
    Private,
    /// No guest has run.
    Unbegun,
    /// There was no instance to be had.
    NoRoom,
    /// An alert asks for deploys that end so.
    Watched,
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    name: &'static str,
    told_of: &'static [Subject],
    status: Option<u16>,
    retry: Retry,
    outcome: Option<Reason>,
    marks: &'static [Mark],
    exit: u8,
    hint: Option<&'static str>,
    kinds: &'static [(&'static str, u16, Retry)],
}

impl Reason {
    /// All of them, in the order of their discriminants.
    pub const ALL: &'static [Self] = ALL;

    /// As what calls that fail are counted, in the order of the table.
    pub const OUTCOMES: &'static [Self] = OUTCOMES;

    /// The reason of this name, if this version knows one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// The name, which is stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        row(self).name
    }

    /// Whether an error with this reason can be told of this.
    #[must_use]
    pub fn is_told_of(self, subject: Subject) -> bool {
        row(self).told_of.contains(&subject)
    }

    /// The status of an answer over HTTP: for a reason of this kind, where it has kinds; none where it has no such kind.
    #[must_use]
    pub fn status(self, kind: Option<&str>) -> Option<u16> {
        let row = row(self);
        row.status
            .or_else(|| row.kinds.iter().find(|(name, ..)| Some(*name) == kind).map(|(_name, status, _retry)| *status))
    }

    /// When the same may go otherwise: for a reason of this kind, where it has kinds.
    #[must_use]
    pub fn retry(self, kind: Option<&str>) -> Retry {
        let row = row(self);
        row.kinds.iter().find(|(name, ..)| Some(*name) == kind).map_or(row.retry, |(.., retry)| *retry)
    }

    /// The names of its kinds, of a reason that is told with one.
    pub fn kinds(self) -> impl Iterator<Item = &'static str> {
        row(self).kinds.iter().map(|(name, ..)| *name)
    }

    /// The one of [`Reason::OUTCOMES`] that a call which fails with it counts as.
    #[must_use]
    pub const fn outcome(self) -> Option<Self> {
        row(self).outcome
    }

    /// Whether this holds for it.
    #[must_use]
    pub fn is(self, mark: Mark) -> bool {
        row(self).marks.contains(&mark)
    }

    /// The exit status of the command line tool that is told it.
    #[must_use]
    pub const fn exit(self) -> u8 {
        row(self).exit
    }

    /// What the command line tool advises.
    #[must_use]
    pub const fn hint(self) -> Option<&'static str> {
        row(self).hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_reason_with_all_that_the_row_says() {
        let rows: Vec<Vec<&str>> = include_str!("../errors.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split('\t').collect())
            .collect();
        let (kinds, reasons): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.len() == 3);
        assert!(reasons.len() > 60 && kinds.len() > 20);
        assert_eq!(reasons.len(), Reason::ALL.len());
        for (row, reason) in reasons.iter().zip(Reason::ALL.iter().copied()) {
            let &[name, _told_of, status, retry, outcome, marks, exit, _members, meaning, hint] = row.as_slice() else {
                panic!("{row:?} has not all columns");
            };
            assert_eq!(reason.name(), name);
            assert_eq!(Reason::named(name), Some(reason));
            let status = status.trim_end_matches('!').parse().ok();
            assert_eq!(reason.status(None), status, "{name}");
            assert_eq!(status.is_none(), reason.kinds().next().is_some(), "{name}");
            assert!(status.is_none_or(|status: u16| (400..600).contains(&status)), "{name}");
            assert!(
                reason.kinds().next().is_some() || format!("{:?}", reason.retry(None)).to_lowercase() == retry,
                "{name}"
            );
            assert_eq!(reason.outcome().map_or("-", Reason::name), outcome, "{name}");
            assert_eq!(marks.split_whitespace().count(), row_marks(reason), "{name}");
            assert_eq!(reason.exit().to_string(), exit, "{name}");
            assert_ne!(exit, "0", "{name} is no success");
            assert!(!meaning.is_empty(), "{name}");
            assert_eq!(reason.hint().unwrap_or_default(), hint, "{name}");
        }
        for row in kinds {
            let &[name, status, retry] = row.as_slice() else { panic!("{row:?}") };
            let (reason, kind) = name.split_once(':').unwrap_or_else(|| panic!("{name} is no kind"));
            let reason = Reason::named(reason).unwrap_or_else(|| panic!("{name} is of no reason"));
            assert_eq!(reason.status(Some(kind)), status.trim_end_matches('!').parse().ok(), "{name}");
            assert!(reason.status(Some(kind)).is_some(), "{name}");
            assert_eq!(format!("{:?}", reason.retry(Some(kind))).to_lowercase(), retry, "{name}");
        }
    }

    fn row_marks(reason: Reason) -> usize {
        [Mark::Logged, Mark::Private, Mark::Unbegun, Mark::NoRoom, Mark::Watched]
            .into_iter()
            .filter(|mark| reason.is(*mark))
            .count()
    }

    #[test]
    fn every_reason_is_listed_once_in_the_order_of_its_discriminant() {
        for (index, reason) in Reason::ALL.iter().copied().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
        assert_eq!(Reason::ALL.iter().map(|reason| reason.name()).collect::<HashSet<_>>().len(), Reason::ALL.len());
    }

    #[test]
    fn what_calls_are_counted_as_is_counted_as_itself() {
        assert!(Reason::OUTCOMES.len() >= 7);
        for reason in Reason::ALL {
            assert!(reason.outcome().is_none_or(|outcome| Reason::OUTCOMES.contains(&outcome)), "{}", reason.name());
        }
        for outcome in Reason::OUTCOMES {
            assert_eq!(outcome.outcome(), Some(*outcome));
        }
    }

    #[test]
    fn a_reason_of_several_kinds_may_go_otherwise_as_its_kind_says_and_else_never() {
        assert_eq!(Reason::Quota.retry(Some("instances")), Retry::Soon);
        assert_eq!(Reason::Quota.retry(Some("modules")), Retry::Later);
        assert_eq!(Reason::Quota.retry(Some("of another version")), Retry::Never);
        assert_eq!(Reason::Overloaded.retry(None), Retry::Soon);
    }

    #[test]
    fn a_name_that_this_version_does_not_know_is_no_reason() {
        assert_eq!(Reason::named("of_another_version"), None);
        assert_eq!(Reason::named(""), None);
    }
}
