//! How a voter stands in its group, once it is one of it.

use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use tokio::time::{sleep, timeout};

use super::AGREE;
use crate::replicated::group::{Group, Standing};
use crate::replicated::rpc::{Question, Said};
use crate::replicated::types::Member;

/// How often a member is asked, and how long it may take.
const LOOK: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(2);

/// Asks the other members in turn whether this disk is of the time that it was; and the one that leads, whether it is a member. For as long
/// as Raft goes on.
pub(crate) async fn watch_others(group: Group) {
    let (mut turn, mut removed_by) = (0_usize, None);
    while let Ok(members) = group.members().await {
        sleep(LOOK).await;
        group.elects_again().await;
        // The members have changed since it was told that it is none: it may be needed before a leader tells it.
        let members_by = *group.raft.metrics().borrow().membership_config.log_id();
        let is_member = group.member(group.network.own).is_some();
        if is_member && (group.leads() || removed_by.is_some_and(|by| by != members_by)) {
            removed_by = None;
            stand(&group, Standing::Member);
        }
        let others: Vec<_> = members.into_iter().filter(|(disk, _member)| *disk != group.network.own).collect();
        turn = turn.wrapping_add(1);
        let Some((disk, Member { node })) = others.get(turn.checked_rem(others.len()).unwrap_or(0)) else { continue };
        let standing = match group.network.ask(node, Some(*disk), Question::Here, ANSWER).await {
            Ok(Said::Later) => {
                group.be_earlier(node);
                continue;
            }
            // One that leads knows all that was agreed on, unless another leads that it has not heard of yet.
            Ok(Said::Here { leads: true, is_member: false, by, .. }) if by >= members_by => {
                removed_by = Some(members_by);
                Standing::Outside(removed(&group.own.node))
            }
            Ok(Said::Here { leads: true, is_member: true, .. }) => Standing::Member,
            _unknown => continue,
        };
        stand(&group, standing);
    }
}

/// Notes how it stands, and whether it asks for votes. One of an earlier time is refused, whoever takes it for a member.
pub(super) fn stand(group: &Group, standing: Standing) {
    if standing == Standing::Member && group.is_earlier() {
        return;
    }
    group.elects(&standing);
    group.standing.send_if_modified(|now| {
        let is_new = *now != standing;
        *now = standing;
        is_new
    });
}

/// Finishes a change of the members whose leader has ended in the middle of it, when this voter leads; for as long as Raft goes on.
pub(crate) async fn finish(group: Group) {
    while group.raft.metrics().borrow().running_state.is_ok() {
        sleep(LOOK).await;
        // A change that is under way here is finished by who makes it.
        let Ok(_alone) = group.changing.try_lock() else { continue };
        let Ok((_by, members)) = group.membership().await else { return };
        if let [_before, voters] = members.get_joint_config().as_slice()
            && group.leads()
        {
            let change = group.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters.clone()), false);
            // Or the next time.
            let _agreed = timeout(AGREE, change).await;
        }
    }
}

fn removed(own: &str) -> Arc<str> {
    format!("{own} is no member of those that keep records any more: it may be added again").into()
}
