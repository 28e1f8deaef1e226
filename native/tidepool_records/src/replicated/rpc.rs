//! What voters say to each other, as bytes. Each says which disk it is, of which time, and which it takes the other for.

use std::sync::Arc;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{LogId, SnapshotMeta, Vote};
use serde::{Deserialize, Serialize};

use super::claim::{Claim, Known};
use super::command::{Command, Outcome};
use super::members::change::{MemberChange, MemberState};
use super::types::{DiskId, Member, Types};
use crate::record::Mark;

/// A question to another voter.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) from: DiskId,
    pub(super) claim: Claim,
    /// `None` of who asks which disk it is.
    pub(super) to: Option<DiskId>,
    /// What who asks knows of that disk.
    pub(super) known: Option<Known>,
    pub(super) question: Question,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// Which disk is it, and who are the members? Who asks is about to found a group of these nodes, or leads one.
    Who {
        founders: Vec<String>,
    },
    /// Is it there? [`Said::Here`] is the answer.
    Here,
    Vote(VoteRequest<DiskId>),
    Append(AppendEntriesRequest<Types>),
    Part(Part),
    /// To the voter that leads.
    Lead(Lead),
    /// By the voter that leads, and is about to end, to one that has all: that it asks for votes.
    Elect,
    /// By the voter that leads: a snapshot comes, and no heartbeat by the clock until all of it is there.
    Comes(Vote<DiskId>),
}

/// What the voter that leads is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Lead {
    /// That an entry says this.
    Propose(Arc<Command>),
    /// Which entry has to be applied where what is answered by now is to be read.
    Index,
    /// What is known of each member.
    Members,
    /// That the members change.
    Change(MemberChange),
}

/// A part of a snapshot: they come one after the other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) vote: Vote<DiskId>,
    pub(super) meta: SnapshotMeta<DiskId, Member>,
    /// The bytes before it.
    pub(super) at: u64,
    #[serde(with = "serde_bytes")]
    pub(super) bytes: Vec<u8>,
    /// Bytes of all parts.
    pub(super) length: u64,
    /// The digest of all bytes, with the last of them.
    pub(super) whole: Option<Mark>,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) from: DiskId,
    pub(super) claim: Claim,
    pub(super) said: Said,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// It is this disk, and these are the members that it knows of, by this entry of the log: none before there is a group. Those that it
    /// knows of may be of before, if it has heard that it is outside.
    Disk {
        disk: DiskId,
        members: Vec<(DiskId, Member)>,
        by: Option<LogId<DiskId>>,
        is_outside: bool,
    },
    Vote(VoteResponse<DiskId>),
    Append(AppendEntriesResponse<DiskId>),
    /// The snapshot has taken the place of what was there; or by a higher vote, it has not, and will not.
    Snapshot(SnapshotResponse<DiskId>),
    /// The part was taken, and the next is wanted; or the snapshot may come.
    Taken,
    Led(Led),
    /// It is there, and leads or does not; the disk that asks is a member, or is not, by this entry of the log; and what is wrong with who
    /// is there, if anything is.
    Here {
        leads: bool,
        is_member: bool,
        by: Option<LogId<DiskId>>,
        problem: Option<String>,
    },
    /// Nothing, for it has heard of a later time of the disk that asks.
    Later,
    /// Nothing: it leads, and the disk that asks is no member.
    NoMember,
    /// It can't answer.
    Failed(String),
    /// It asks for votes.
    Elects,
    /// Nothing, for the question is of another version.
    NotUnderstood,
    /// The part was not taken: the one after so many bytes is wanted.
    Wanted(u64),
}

/// What the voter says that was asked to lead.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Led {
    /// The command was applied as this entry, or it was before; and this came of it.
    Outcome { number: u64, outcome: Outcome },
    /// This entry is to be applied.
    Index(u64),
    /// The members.
    Members(Vec<MemberState>),
    /// They have changed so, or had; and these are they by now.
    Changed(Vec<MemberState>),
    /// They have not, and why.
    Refused(String),
    /// There is no room on its disk: it was not proposed.
    Full,
    /// It does not lead: it was not proposed.
    NotLeader,
    /// It leads no more, or can't reach the others: an entry may say it, or not.
    Lost(String),
}
