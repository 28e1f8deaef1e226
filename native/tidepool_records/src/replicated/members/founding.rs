//! How a group begins: its nodes are named on each of them, and the first of them founds it, once it has heard of each that it has a disk
//! that no group knows. A majority could not be found: who is not heard of may have been one of another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::RaftError;
use tokio::time::{Instant, sleep};

use super::standing::stand;
use crate::record::StoreError;
use crate::replicated::group::{Group, Standing, stopped};
use crate::replicated::rpc::{Question, Said};
use crate::replicated::types::{DiskId, Member};

/// How often somebody looks, and how long one that is asked may take.
const PAUSE: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(2);
/// How long a voter that was alone waits for those that may have joined it.
const GROWN: Duration = Duration::from_secs(5);

/// Waits until this voter is one of a group, founds it if that is for this one to do, and notes how it stands.
pub(crate) async fn join(group: Group) {
    loop {
        match stands(&group).await {
            Ok(Standing::Member) => return stand(&group, Standing::Member),
            // It may be made a member yet.
            Ok(standing) => drop(group.standing.send_replace(standing)),
            // Raft has ended, and says why to who asks.
            Err(_ended) => return,
        }
        sleep(PAUSE).await;
    }
}

async fn stands(group: &Group) -> Result<Standing, StoreError> {
    let (own, founders) = (group.network.own, &group.founders);
    let members = group.members().await?;
    if let Some((_disk, Member { node })) = members.iter().find(|(disk, _member)| *disk == own)
        && *node != group.own.node
    {
        return Ok(Standing::Refused(of_another(node, &group.own.node)));
    }
    if !members.is_empty() {
        return Ok(Standing::Member);
    }
    if !founders.contains(&group.own.node) {
        let node = &group.own.node;
        let why = format!("{node} is none of the nodes that are named, and was not added as a member");
        return Ok(Standing::Outside(why.into()));
    }
    let mut disks = BTreeMap::from([(own, group.own.clone())]);
    let mut waits = None;
    for node in founders.iter().filter(|node| **node != group.own.node) {
        let question = Question::Who { founders: founders.to_vec() };
        match group.network.ask(node, None, question, ANSWER).await {
            Ok(Said::Disk { disk, members, .. }) if members.is_empty() => {
                if let Some(Member { node: other }) = disks.insert(disk, Member { node: node.clone() }) {
                    return Ok(Standing::Refused(copied(&other, node)));
                }
            }
            // It knows no more who they are. Those who do may be among the others, and a group is founded by none of them.
            Ok(Said::Disk { is_outside: true, .. }) => waits = waits.or_else(|| Some(outside(node))),
            Ok(Said::Disk { members, .. }) => return Ok(beside(group, node, &members)),
            // Another one may have more to say.
            Ok(_other) => waits = waits.or_else(|| Some(format!("{node} has answered something else").into())),
            Err(why) => waits = waits.or(Some(why)),
        }
    }
    if let Some(why) = waits {
        return Ok(Standing::Waiting(why));
    }
    if founders.first() == Some(&group.own.node) {
        return match group.raft.initialize(disks).await {
            Ok(()) => Ok(Standing::Member),
            Err(RaftError::APIError(_)) => Ok(Standing::Waiting("it has just heard of a group".into())),
            Err(error) => Err(stopped(&error)),
        };
    }
    let first = founders.first().map_or("", String::as_str);
    Ok(Standing::Waiting(format!("{first} is to found the group").into()))
}

/// What a node says of a voter that was alone when its folder was written.
pub(crate) enum Since {
    /// It has others by now, by an entry of the log that it does not have.
    Grown(String),
    /// The node keeps records with others, and with another folder of the voter's node.
    Apart(Standing),
}

/// Has a voter that was alone when its folder was written been joined by others since, or was the folder made while they have another of its
/// node? Those that are named are asked until each has answered, or until there was time for that: they may be gone.
pub(crate) async fn since_alone(group: &Group) -> Option<Since> {
    let own = group.network.own;
    let (own_by, _members) = group.membership().await.ok()?;
    let end = Instant::now() + GROWN;
    loop {
        let mut is_each_there = true;
        for node in group.founders.iter().filter(|node| **node != group.own.node) {
            let question = Question::Who { founders: Vec::new() };
            match group.network.ask(node, None, question, ANSWER).await {
                Ok(Said::Disk { members, by, is_outside, .. }) => {
                    let has_this = members.iter().any(|(disk, _member)| *disk == own);
                    if by > own_by && members.len() > 1 && has_this {
                        return Some(Since::Grown(node.clone()));
                    }
                    let has_another = members.iter().any(|(_disk, member)| member.node == group.own.node);
                    // One that was removed has not heard of a folder that this node has had since.
                    let is_of_before = is_outside && by < own_by;
                    if has_another && !has_this && !is_of_before {
                        return Some(Since::Apart(Standing::Refused(apart(node, &group.own.node))));
                    }
                }
                _unknown => is_each_there = false,
            }
        }
        if is_each_there || Instant::now() + PAUSE >= end {
            return None;
        }
        sleep(PAUSE).await;
    }
}

/// How a disk without members stands beside a group.
fn beside(group: &Group, node: &str, members: &[(DiskId, Member)]) -> Standing {
    if members.iter().any(|(disk, _member)| *disk == group.network.own) {
        return Standing::Waiting("it is to hear of the leader".into());
    }
    let own = &group.own.node;
    if members.iter().any(|(_disk, member)| member.node == *own) {
        let why = format!(
            "{node} keeps records with another folder of {own} than this one. \
             Put that back; or if it is lost, have {own} replaced as a member"
        );
        Standing::Refused(why.into())
    } else {
        let why = format!("{node} keeps records with others, and {own} is none of them: it may be added as a member");
        Standing::Outside(why.into())
    }
}

fn apart(node: &str, own: &str) -> Arc<str> {
    format!(
        "this folder of {own} was imported, or made, while {node} keeps records with another folder of {own}. To go on with theirs, stop \
         {own}, move this folder away, and have {own} replaced as a member; to go on with this one, stop all nodes, move the folders of the \
         others away, and add them"
    )
    .into()
}

fn outside(node: &str) -> Arc<str> {
    format!("{node} is no member of those that keep records any more").into()
}

fn of_another(node: &str, own: &str) -> Arc<str> {
    format!(
        "this folder is {node}'s. If {own} was called {node} before, start it by that name; or if {node} is another node, these are copies of \
         one folder: give {own} an empty one, and add it as a member"
    )
    .into()
}

fn copied(one: &str, other: &str) -> Arc<str> {
    format!("{one} and {other} have copies of one folder: give one of them an empty one").into()
}
