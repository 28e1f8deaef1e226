//! The members of a group: what is known of them, and changes of them. A voter is made of a disk that has caught up, and the voters of
//! before and after agree on the change, each by their majority (joint consensus; Ongaro, "Consensus: Bridging Theory and Practice",
//! 2014, section 4.3).

pub(super) mod change;
mod founding;
pub(super) mod lag;
mod standing;
mod succession;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep, timeout};

pub use self::change::{MemberChange, MemberState};
pub(super) use self::founding::{Since, join, since_alone};
pub(super) use self::standing::{finish, watch_others};
pub(super) use self::succession::give_up_lead;
use super::group::{Group, LOST};
use super::network::{earlier, other_version};
use super::rpc::{Led, Question, Said};
use super::types::{DiskId, Member};

/// How long a member may take to say that it is there.
const HERE: Duration = Duration::from_secs(1);
/// How long the voters of before and after may take to agree.
const AGREE: Duration = Duration::from_secs(30);
/// How often it is looked at how far a disk is, and for how long that may have nothing more.
const LOOK: Duration = Duration::from_millis(50);
const STANDS: Duration = Duration::from_secs(300);

/// Why the members are not changed.
enum Unchanged {
    /// Nothing was done.
    Refused(String),
    /// It is not known: it is to be asked for again.
    Lost(String),
}

type Failed = RaftError<DiskId, ClientWriteError<DiskId, Member>>;

/// Who votes, and the nodes of all disks.
struct Members {
    /// As the last change has it; beside those of before, while it is under way.
    configs: Vec<BTreeSet<DiskId>>,
    nodes: Vec<(DiskId, String)>,
}

impl Members {
    /// The disks of a node.
    fn of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = DiskId> + 'a {
        self.nodes.iter().filter(move |(_disk, name)| name == node).map(|(disk, _name)| *disk)
    }

    fn votes(&self, disk: DiskId) -> bool {
        self.configs.last().is_some_and(|voters| voters.contains(&disk))
    }

    fn voters(&self) -> BTreeSet<DiskId> {
        self.configs.last().cloned().unwrap_or_default()
    }

    fn node(&self, disk: DiskId) -> Option<&str> {
        self.nodes.iter().find(|(other, _name)| *other == disk).map(|(_disk, name)| name.as_str())
    }
}

impl Group {
    /// What is known of each member, by this voter, which leads.
    pub(super) async fn member_states(&self) -> Led {
        match self.members_now().await {
            Ok(members) => Led::Members(members),
            Err(Unchanged::Refused(why) | Unchanged::Lost(why)) => Led::Lost(why),
        }
    }

    async fn members_now(&self) -> Result<Vec<MemberState>, Unchanged> {
        let members = self.known().await?;
        let (replication, last) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (metrics.replication.clone().unwrap_or_default(), metrics.last_log_index.unwrap_or(0))
        };
        let (own, leads) = (self.network.own, self.leads());
        let there = join_all(members.nodes.iter().map(|(disk, node)| self.here(*disk, node))).await;
        let states = members.nodes.iter().zip(there).map(|((disk, node), here)| {
            let has =
                if *disk == own { Some(last) } else { replication.get(disk).copied().flatten().map(|id| id.index) };
            MemberState {
                node: node.clone(),
                votes: members.configs.iter().any(|voters| voters.contains(disk)),
                leads: *disk == own && leads,
                answers: here.is_ok(),
                lacks: has.map(|has| last.saturating_sub(has)),
                problem: here
                    .unwrap_or_else(|why| Some(why.to_string()))
                    .or_else(|| self.network.sends.problem(*disk, has).map(|why| why.to_string())),
            }
        });
        Ok(states.collect())
    }

    /// Changes the members, as the voter that leads.
    pub(super) async fn change_members(&self, change: &MemberChange) -> Led {
        let changed = match change {
            MemberChange::Remove(node) => self.remove(node).await,
            MemberChange::Add(node) => self.add(node, false).await,
            MemberChange::Replace(node) => self.add(node, true).await,
        };
        let now = match changed {
            Ok(()) => self.members_now().await,
            Err(unchanged) => Err(unchanged),
        };
        match now {
            Ok(members) => Led::Changed(members),
            Err(Unchanged::Refused(why)) => Led::Refused(why),
            Err(Unchanged::Lost(why)) => Led::Lost(why),
        }
    }

    /// Returns when no other change is made.
    async fn alone(&self) -> Result<MutexGuard<'_, ()>, Unchanged> {
        let late = |_late| Unchanged::Lost("another change of the members is under way".into());
        timeout(AGREE, self.changing.lock()).await.map_err(late)
    }

    async fn remove(&self, node: &str) -> Result<(), Unchanged> {
        let _alone = self.alone().await?;
        let members = self.known().await?;
        let gone: BTreeSet<_> = members.of(node).collect();
        if gone.is_empty() && members.configs.len() == 1 {
            return Ok(());
        }
        let left: BTreeSet<_> = members.voters().difference(&gone).copied().collect();
        if left.is_empty() {
            return Err(Unchanged::Refused(format!("{node} is the only voter: add another one before")));
        }
        self.majorities(&members, left).await?;
        self.agree(ChangeMembers::RemoveVoters(gone)).await?;
        self.forget(node, None).await
    }

    /// Has a node vote with the folder that it has now, in place of another if `replaces`.
    async fn add(&self, node: &str, replaces: bool) -> Result<(), Unchanged> {
        let disk = self.disk(node).await?;
        let alone = self.alone().await?;
        let members = self.known().await?;
        if let Some(other) = members.node(disk).filter(|other| *other != node) {
            return Err(Unchanged::Refused(format!(
                "{node} has a copy of the folder of {other}: give it an empty one"
            )));
        }
        if !replaces && before(&members, node, disk).next().is_some() {
            return Err(Unchanged::Refused(format!(
                "{node} is a voter, with another folder than it has now. Put that back; or if it is lost, replace {node}"
            )));
        }
        self.majorities(&members, after(&members, node, disk)).await?;
        if members.node(disk).is_none() {
            // One that was removed, and put back from an earlier time, is told apart by its disk. It would be sent nothing, and waited for.
            self.here(disk, node).await.map_err(|why| Unchanged::Refused(why.to_string()))?;
            self.agree(ChangeMembers::AddNodes([(disk, Member { node: node.into() })].into())).await?;
        }
        // That may take long, and others change meanwhile.
        drop(alone);
        if !members.votes(disk) {
            self.caught_up_by(node, disk).await?;
        }
        let _alone = self.alone().await?;
        let members = self.known().await?;
        self.majorities(&members, after(&members, node, disk)).await?;
        // Another may have led meanwhile: what is to be is a part of what is, whatever that is by now.
        self.agree(ChangeMembers::AddVoterIds([disk].into())).await?;
        let before: BTreeSet<_> = before(&self.known().await?, node, disk).collect();
        if !before.is_empty() {
            self.agree(ChangeMembers::RemoveVoters(before)).await?;
        }
        self.forget(node, Some(disk)).await
    }

    /// Which disk a node has.
    async fn disk(&self, node: &str) -> Result<DiskId, Unchanged> {
        if node == self.own.node {
            return Ok(self.network.own);
        }
        let question = Question::Who { founders: Vec::new() };
        let (disk, members) = match self.network.ask(node, None, question, HERE).await {
            Ok(Said::Disk { disk, members, .. }) => (disk, members),
            Ok(_other) => return Err(Unchanged::Refused(format!("{node} has answered something else"))),
            Err(why) => {
                return Err(Unchanged::Refused(format!(
                    "{why}. A node that is added has to be there, with the same setting as the others"
                )));
            }
        };
        let known = self.known().await?;
        let is_of_others = !members.is_empty() && !members.iter().any(|(disk, _member)| known.node(*disk).is_some());
        if is_of_others { Err(Unchanged::Refused(format!("{node} keeps records with others"))) } else { Ok(disk) }
    }

    /// Returns when a disk has what this one had of the log when that was asked for.
    async fn caught_up_by(&self, node: &str, disk: DiskId) -> Result<(), Unchanged> {
        let mut metrics = self.raft.metrics();
        let (mut most, mut taken, mut since) = (0, 0, Instant::now());
        let wanted = metrics.borrow().last_log_index.unwrap_or(0);
        loop {
            let has = {
                let now = metrics.borrow_and_update();
                let Some(replication) = &now.replication else {
                    return Err(Unchanged::Lost(format!("{} leads no more", self.own.node)));
                };
                replication.get(&disk).copied().flatten().map_or(0, |id| id.index)
            };
            if has >= wanted {
                return Ok(());
            }
            if self.known().await?.node(disk).is_none() {
                return Err(Unchanged::Refused(format!("{node} was removed meanwhile")));
            }
            // A snapshot counts as entries at its end.
            let takes = self.network.sends.taken(disk);
            if has > most || takes > taken {
                since = Instant::now();
            }
            // One that always begins anew gets no further.
            (most, taken) = (most.max(has), taken.max(takes));
            if since.elapsed() > STANDS {
                return Err(Unchanged::Refused(format!(
                    "{node} has {most} of {wanted} entries of the log, and no more for {} s: it catches up when it can, and is no voter yet. \
                     See to it, and ask again",
                    STANDS.as_secs()
                )));
            }
            sleep(LOOK).await;
        }
    }

    /// Is a majority there of those who vote, and of those who are to?
    async fn majorities(&self, members: &Members, voters: BTreeSet<DiskId>) -> Result<(), Unchanged> {
        for voters in members.configs.iter().chain([&voters]) {
            let named = voters.iter().map(|disk| (*disk, members.node(*disk)));
            // One that is about to be a member has just answered.
            let there = join_all(named.map(async |(disk, node)| match node {
                Some(node) => self.is_there(disk, node).await,
                None => true,
            }));
            let there = there.await.into_iter().filter(|is_there| *is_there).count();
            if there * 2 <= voters.len() {
                return Err(Unchanged::Refused(format!(
                    "{there} of {} voters answer, which is no majority: nothing could be agreed on, or written afterwards. {LOST}",
                    voters.len()
                )));
            }
        }
        Ok(())
    }

    /// Has the members changed so, by agreement of those of before and after; once a change that is under way is over.
    async fn agree(&self, change: ChangeMembers<DiskId, Member>) -> Result<(), Unchanged> {
        let late = || Unchanged::Lost(format!("no majority has agreed within {} s", AGREE.as_secs()));
        let end = Instant::now() + AGREE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match timeout(left, self.raft.change_membership(change.clone(), false)).await.map_err(|_late| late())? {
                Ok(_changed) => return Ok(()),
                Err(error) if is_in_progress(&error) => sleep(LOOK).await,
                Err(error) => return Err(Unchanged::Lost(error.to_string())),
            }
        }
    }

    /// Has a node's disks that do not vote be no members any more, but for this one.
    async fn forget(&self, node: &str, but: Option<DiskId>) -> Result<(), Unchanged> {
        let members = self.known().await?;
        let gone: BTreeSet<_> = members.of(node).filter(|disk| Some(*disk) != but && !members.votes(*disk)).collect();
        // A leader that has removed itself leads no more: the next one forgets what is left when it is asked again.
        if gone.is_empty() { Ok(()) } else { self.agree(ChangeMembers::RemoveNodes(gone)).await }
    }

    async fn is_there(&self, disk: DiskId, node: &str) -> bool {
        self.here(disk, node).await.is_ok()
    }

    /// What is wrong with a member that is there, if anything is; or why it is not.
    async fn here(&self, disk: DiskId, node: &str) -> Result<Option<String>, Arc<str>> {
        if disk == self.network.own {
            return Ok(self.problem());
        }
        match self.network.ask(node, Some(disk), Question::Here, HERE).await? {
            Said::Here { problem, .. } => Ok(problem),
            Said::Later => Err(earlier(&self.own.node).into()),
            _other => Err(other_version(node).into()),
        }
    }

    async fn known(&self) -> Result<Members, Unchanged> {
        let (_by, membership) = self.membership().await.map_err(|error| Unchanged::Lost(error.to_string()))?;
        Ok(Members {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(disk, member)| (*disk, member.node.clone())).collect(),
        })
    }
}

/// The disks of a node that vote, but for the one that is to.
fn before<'a>(members: &'a Members, node: &'a str, disk: DiskId) -> impl Iterator<Item = DiskId> + 'a {
    members.of(node).filter(move |other| *other != disk && members.votes(*other))
}

/// Who votes once that disk is the node's.
fn after(members: &Members, node: &str, disk: DiskId) -> BTreeSet<DiskId> {
    let gone: BTreeSet<_> = before(members, node, disk).collect();
    members.voters().difference(&gone).copied().chain([disk]).collect()
}

/// Is another change under way, or one of a leader of before not agreed on yet?
fn is_in_progress(error: &Failed) -> bool {
    use ChangeMembershipError::InProgress;
    matches!(error, RaftError::APIError(ClientWriteError::ChangeMembershipError(InProgress(_))))
}
