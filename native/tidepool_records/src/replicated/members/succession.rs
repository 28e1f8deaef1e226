//! Leaving the lead to another, when this voter is about to end: the others would have to miss it first, and nothing be written until then.
//!
//! openraft has nothing of its own for that before 0.10. Here the one that leads proposes nothing more, and has a voter ask for votes that
//! has all entries. It gives its own, as any that hears of a later term; the others give theirs once they have heard no heartbeat for as
//! long as they hold to a leader. Of three voters the two are a majority at once.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::HERE;
use crate::replicated::group::Group;
use crate::replicated::rpc::Question;
use crate::replicated::types::{DiskId, Member};

/// How often somebody looks, and how often at most until another one is asked.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: usize = 20;
/// How long voters hold to a leader that they hear nothing of: the longest time until they elect another, and a bit.
const HELD: Duration = Duration::from_millis(310);
/// So many voters elect one at once by the votes of the one that led, and of that one.
const FEW: usize = 3;

/// Has another voter lead, if this one does and is not alone. Returns when another leads, or when that has not come about in this time: then
/// it leads on until it ends, and is missed.
pub(crate) async fn give_up_lead(group: &Group, within: Duration) {
    if group.is_alone() || !group.leads() {
        return;
    }
    group.hold(true);
    let _late = timeout(within, another_leads(group)).await;
    group.hold(false);
}

async fn another_leads(group: &Group) {
    // What was proposed before is in the log when this is answered.
    let _members = group.membership().await;
    if group.raft.metrics().borrow().membership_config.membership().voter_ids().count() > FEW {
        sleep(HELD).await;
    }
    loop {
        let (leads, is_led) = (group.leads(), group.has_leader());
        if is_led && !leads {
            return;
        }
        if leads && let Some((disk, node)) = successor(group) {
            // One that does not has the next one asked.
            let _asks = group.network.ask(&node, Some(disk), Question::Elect, HERE).await;
            for _look in 0..LOOKS {
                if !group.leads() {
                    break;
                }
                sleep(LOOK).await;
            }
        }
        sleep(LOOK).await;
    }
}

/// A voter that has all entries.
fn successor(group: &Group) -> Option<(DiskId, String)> {
    let metrics = group.raft.metrics();
    let metrics = metrics.borrow();
    let replication = metrics.replication.as_ref()?;
    let has_all = |disk: &DiskId| {
        let has = replication.get(disk).copied().flatten().map(|id| id.index);
        *disk != group.network.own && has == metrics.last_log_index
    };
    let members = metrics.membership_config.membership();
    let disk = members.voter_ids().find(has_all)?;
    members.get_node(&disk).map(|Member { node }| (disk, node.clone()))
}
