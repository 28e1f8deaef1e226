//! What voters say of the members, and changes of these.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::group::Group;
use tidepool_records::{MemberChange, MemberState, StoreError};

/// What a voter says of the members.
pub(crate) fn members(group: &Group, node: &str) -> Result<Vec<MemberState>, StoreError> {
    let (tell, told) = mpsc::channel();
    group.with(node, |voter| voter.members(Duration::from_secs(5), move |members| drop(tell.send(members))));
    told.recv_timeout(PATIENCE).unwrap()
}

/// Has a voter see to a change, and again when it is not known what has become of it.
pub(crate) fn change(group: &Group, by: &str, change: &MemberChange) -> Result<Vec<MemberState>, StoreError> {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "{change:?}");
        let (tell, told) = mpsc::channel();
        group.with(by, |voter| {
            voter.change_members(change.clone(), Duration::from_secs(30), move |changed| drop(tell.send(changed)));
        });
        match told.recv_timeout(PATIENCE).unwrap() {
            Err(StoreError::Unknown(_) | StoreError::Away(_)) => {}
            changed => return changed,
        }
    }
}

pub(crate) fn add(node: &str) -> MemberChange {
    MemberChange::Add(node.into())
}

pub(crate) fn remove(node: &str) -> MemberChange {
    MemberChange::Remove(node.into())
}

pub(crate) fn replace(node: &str) -> MemberChange {
    MemberChange::Replace(node.into())
}
