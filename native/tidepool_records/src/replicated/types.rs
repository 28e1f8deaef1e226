//! What openraft is told of this group.

use std::sync::Arc;

use openraft::{Entry, ErrorSubject, ErrorVerb, LogId, StorageError, StorageIOError, StoredMembership, TokioRuntime};
use serde::{Deserialize, Serialize};

pub(crate) use super::claim::DiskId;
use super::command::{Command, Outcome};
use super::snapshot::Snapshot;
use crate::record::StoreError;

openraft::declare_raft_types!(
    /// The types of this group's Raft.
    pub(crate) Types:
        D = Arc<Command>,
        R = Outcome,
        NodeId = DiskId,
        Node = Member,
        Entry = Entry<Types>,
        SnapshotData = Snapshot,
        AsyncRuntime = TokioRuntime,
);

/// Who has a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The name of the node.
    pub(crate) node: String,
}

/// The last entry that was applied, and the members by then.
pub(crate) type Applied = (Option<LogId<DiskId>>, StoredMembership<DiskId, Member>);

pub(crate) type Failure = StorageError<DiskId>;

/// What openraft is told when the disk fails: it ends then.
pub(super) fn failed(subject: ErrorSubject<DiskId>, verb: ErrorVerb, error: &StoreError) -> Failure {
    StorageIOError::new(subject, verb, openraft::AnyError::new(error)).into()
}

/// The bytes of a value.
///
/// # Errors
/// When it is longer than memory.
pub(super) fn packed<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value).map_err(|error| unreadable(&error))
}

/// The value that was packed.
///
/// # Errors
/// [`StoreError::Corrupt`] when the bytes are none.
pub(super) fn unpacked<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| unreadable(&error))
}

fn unreadable(error: &postcard::Error) -> StoreError {
    StoreError::Corrupt(format!("an entry of the log can't be read: {error}").into())
}
