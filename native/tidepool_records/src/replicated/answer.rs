//! Answering other voters.

use std::sync::{Arc, PoisonError};

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse};
use openraft::{ServerState, Snapshot, Vote};
use tokio::sync::SemaphorePermit;

use super::group::{Group, Standing, said};
use super::network::{Network, earlier};
use super::rpc::{Answered, Asked, Part, Question, Said};
use super::snapshot::{Receiving, Took, aside};
use super::types::{DiskId, Member, Types, packed, unpacked};

/// Bytes of entries that are committed and wait for being applied, from which on no more are taken: until then they are in memory.
const UNAPPLIED_BYTES: usize = 64 << 20;

impl Group {
    /// What is answered to the voter of a node.
    pub(super) async fn answer(&self, node: &str, question: &[u8]) -> Vec<u8> {
        let said = match unpacked(question) {
            Ok(asked) => self.said(node, asked).await.unwrap_or_else(Said::Failed),
            Err(_newer_or_older) => Said::NotUnderstood,
        };
        let Network { own: from, claim, .. } = &self.network;
        packed(&Answered { from: *from, claim: *claim, said }).unwrap_or_default()
    }

    /// Why it answers nothing that another disk of its node is asked.
    fn of_another_disk(&self) -> String {
        let own = &self.own.node;
        match &*self.standing.borrow() {
            Standing::Refused(why) => why.to_string(),
            _other => format!(
                "{own} has another folder than the one that it is a member with. Put that back; or if it is lost, have {own} replaced as a \
                 member"
            ),
        }
    }

    /// A turn to answer such a question. Raft may stand still for as long as a disk is full, and what it is asked meanwhile is asked again
    /// soon.
    fn turn(&self, question: &Question) -> Result<SemaphorePermit<'_>, String> {
        let turns = if matches!(question, Question::Lead(_)) { &self.turns.led } else { &self.turns.own };
        turns.try_acquire().map_err(|_none| format!("{} has too much to answer at the moment", self.own.node))
    }

    async fn said(&self, node: &str, Asked { from, claim, to, known, question }: Asked) -> Result<Said, String> {
        let own = self.network.own;
        let _turn = self.turn(&question)?;
        if to.is_some_and(|disk| disk != own) {
            return Err(self.of_another_disk());
        }
        if let Some(Member { node: known }) = self.member(from) {
            if known != node {
                return Err(format!(
                    "the folder of the records of {known} is in use by {node}, too: one of them was copied. Give {node} an empty one"
                ));
            }
            if !self.machine.fits(from, &claim) {
                return Ok(Said::Later);
            }
        }
        if to.is_some() && known.is_some_and(|known| !self.network.claim.fits(&known)) {
            self.be_earlier(node);
        }
        let (leads, is_member, by) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let members = &metrics.membership_config;
            let is_member = members.membership().get_node(&from).is_some();
            (metrics.state == ServerState::Leader, is_member, *members.log_id())
        };
        if leads && !is_member && matches!(question, Question::Lead(_)) {
            return Ok(Said::NoMember);
        }
        // What it would take, or give, is to count for nobody.
        let is_of_the_log = matches!(
            question,
            Question::Vote(_) | Question::Append(_) | Question::Part(_) | Question::Elect | Question::Comes(_)
        );
        if self.is_earlier() && is_of_the_log {
            return Err(earlier(&self.own.node));
        }
        Ok(match question {
            Question::Who { founders } => self.who(node, &founders).await?,
            Question::Here => Said::Here { leads, is_member, by, problem: self.problem() },
            Question::Vote(request) => said(self.raft.vote(request).await, Said::Vote),
            Question::Append(request) => self.append(request).await,
            Question::Part(part) => self.part(from, part).await?,
            Question::Comes(vote) => self.comes(vote),
            Question::Lead(asked) => Said::Led(self.lead(&asked).await),
            Question::Elect => self.succeed(from).await?,
        })
    }

    /// Takes entries of the voter that leads. While too much waits for being applied they are none, as of a heartbeat, and come again soon:
    /// openraft sends no heartbeats while it has entries for one, and who hears of none for long elects another. What is not committed does
    /// not count, for it may take a further entry to be so.
    async fn append(&self, mut request: AppendEntriesRequest<Types>) -> Said {
        let committed = request.leader_commit.map_or(0, |id| id.index);
        // One that has just been elected may not know yet what is.
        let knows = request.leader_commit.is_some_and(|id| id.leader_id.term == request.vote.leader_id.term);
        let is_behind = !request.entries.is_empty() && self.log.unapplied(committed) > UNAPPLIED_BYTES;
        if is_behind {
            request.entries.clear();
        }
        match self.raft.append_entries(request).await {
            Ok(AppendEntriesResponse::Success) if is_behind => {
                Said::Failed(format!("{} has yet to apply what it was sent before", self.own.node))
            }
            answer => {
                if knows && matches!(answer, Ok(AppendEntriesResponse::Success)) {
                    self.lag.heard(committed, |number| self.machine.has_applied(number));
                }
                said(answer, Said::Append)
            }
        }
    }

    async fn who(&self, node: &str, founders: &[String]) -> Result<Said, String> {
        let (by, members) = self.membership().await.map_err(|error| error.to_string())?;
        let members: Vec<_> = members.nodes().map(|(disk, member)| (*disk, member.clone())).collect();
        if members.is_empty() && !founders.is_empty() && *self.founders != *founders {
            return Err(format!(
                "{node} is to keep records with {}, and {} with {}: name the same nodes on each",
                founders.join(", "),
                self.own.node,
                self.founders.join(", ")
            ));
        }
        let is_outside = matches!(&*self.standing.borrow(), Standing::Outside(_));
        Ok(Said::Disk { disk: self.network.own, members, by, is_outside })
    }

    /// Asks for votes, as the one that leads wants. For another it would have the term raised, and no more.
    async fn succeed(&self, from: DiskId) -> Result<Said, String> {
        let is_led_by_it = self.raft.metrics().borrow().current_leader == Some(from);
        if !is_led_by_it || self.is_full() {
            return Err(format!("{} has another leader, or no room on its disk", self.own.node));
        }
        self.raft.trigger().elect().await.map_err(|error| error.to_string())?;
        Ok(Said::Elects)
    }

    /// A snapshot comes. Who has asked for votes meanwhile, or has heard of another that leads, says so: who sends it leads no more then.
    fn comes(&self, vote: Vote<DiskId>) -> Said {
        let own = self.raft.metrics().borrow().vote;
        if vote < own {
            return Said::Snapshot(SnapshotResponse::new(own));
        }
        self.takes();
        Said::Taken
    }

    /// A part of a snapshot, which says as well that one comes. One of a voter that leads no more takes the place of no other.
    async fn part(&self, from: DiskId, part: Part) -> Result<Said, String> {
        let said = self.comes(part.vote);
        if !matches!(said, Said::Taken) {
            return Ok(said);
        }
        let (vote, meta) = (part.vote, part.meta.clone());
        let (receiving, folder, node) = (Arc::clone(&self.receiving), self.folder.clone(), self.own.node.clone());
        let taken = aside(move || {
            let mut receiving = receiving.lock().unwrap_or_else(PoisonError::into_inner);
            Receiving::take(&mut receiving, (&node, &folder), from, &part)
        });
        let snapshot = match taken.await.map_err(|error| error.to_string())?? {
            Took::Part => return Ok(Said::Taken),
            Took::Wanted(at) => return Ok(Said::Wanted(at)),
            Took::Whole(snapshot) => Snapshot { meta, snapshot: Box::new(snapshot) },
        };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        // The next heartbeat is on its way. It may be long since it was told last: while this one was put in place, questions that wait for
        // Raft may have had all turns.
        self.takes();
        installed.map(Said::Snapshot).map_err(|error| error.to_string())
    }
}
