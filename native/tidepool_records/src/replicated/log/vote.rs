//! The vote, as who starts is told of it.

use openraft::Vote;
use rusqlite::Connection;

use super::rows::read_state;
use crate::record::StoreError;
use crate::replicated::types::DiskId;

#[cfg(all(test, target_os = "linux"))]
thread_local! {
    /// Whether a leader that starts again goes on as one, as a defect that is put in has it.
    pub(crate) static RESUMES: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The last vote of this disk. A leader that starts again would go on as one, without asking the others, and with a state that is behind its
/// log. So its own vote is one that nobody has answered yet: it asks them.
///
/// # Errors
/// When it can't be read.
pub(super) fn read_vote(connection: &Connection, own: DiskId) -> Result<Option<Vote<DiskId>>, StoreError> {
    let vote: Option<Vote<DiskId>> = read_state(connection, "vote")?;
    Ok(vote.map(|vote| match vote.leader_id().voted_for() {
        #[cfg(all(test, target_os = "linux"))]
        Some(_any) if RESUMES.get() => vote,
        Some(disk) if disk == own => Vote::new(vote.leader_id().get_term(), disk),
        _another => vote,
    }))
}
