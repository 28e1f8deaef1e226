//! Voters, which keep records together. What one asks another goes through a process, which knows the nodes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_records::{Answering, Links, MemberChange, MemberState, Owner, Records, Standing, StoreError, Voter};
use tokio::sync::oneshot;

use super::store::{answer, opened};
use crate::terms::decode::List;
use crate::terms::message::message;
use crate::terms::{atoms, encode};

/// A voter, and the answers that it waits for.
pub(super) struct VoterHandle {
    /// It is taken when the term is gone.
    voter: Option<Voter>,
    asked: Arc<Asked>,
}

#[rustler::resource_impl]
impl Resource for VoterHandle {}

impl Drop for VoterHandle {
    fn drop(&mut self) {
        // Closing its files takes its time, and a scheduler has none. Without a thread they are left as a kill leaves them.
        let voter = self.voter.take();
        let _closing = std::thread::Builder::new().name("tidepool-closing".into()).spawn(move || drop(voter));
    }
}

/// An answer, or why there is none.
type Answered = Result<Vec<u8>, Arc<str>>;

/// Who waits for which answer.
#[derive(Default)]
struct Asked {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answered>>>,
}

impl Asked {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answered>>> {
        // Nothing that can panic runs under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is waited for, until this is dropped.
struct Waiting {
    asked: Arc<Asked>,
    id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.asked.waiting().remove(&self.id);
    }
}

/// Links by way of a process.
struct Through {
    process: LocalPid,
    asked: Arc<Asked>,
}

impl Links for Through {
    fn ask(&self, node: &str, question: Vec<u8>, within: Duration) -> Answering {
        // A process may have had another voter before.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.asked.waiting().insert(id, tell);
        let waiting = Waiting { asked: Arc::clone(&self.asked), id };
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let (process, node) = (self.process, node.to_owned());
        Box::pin(async move {
            let _waiting = waiting;
            // On a thread of the voter's: who reads drives this on one of the VM's, where nothing can be sent so.
            let sent = tokio::spawn(async move {
                OwnedEnv::new().send_and_clear(&process, |env| {
                    (atoms::tidepool_voter(), id, node, encode::message(env, question), within_ms).encode(env)
                })
            });
            let gone = || Arc::from("the process of this node's voter has ended");
            sent.await.map_err(|_ended| gone())?.map_err(|_dead| gone())?;
            told.await.unwrap_or_else(|_gone| Err("nobody answers any more".into()))
        })
    }
}

/// `{:ok, voter}` or `{:error, kind, message}`. The caller gets `{:tidepool_voter, id, node, question, within_ms}` for what the voter asks,
/// and is to answer with `voter_answered`.
#[rustler::nif(schedule = "DirtyIo")]
fn open_voter<'a>(env: Env<'a>, folder: String, node: String, named: List<String>) -> Term<'a> {
    let asked = Arc::new(Asked::default());
    let links = Through { process: env.pid(), asked: Arc::clone(&asked) };
    answer(env, Voter::open(Path::new(&folder), &node, &named.0, Arc::new(links)), |voter| {
        (atoms::ok(), ResourceArc::new(VoterHandle { voter: Some(voter), asked }))
    })
}

/// Has a question answered that has come from another node. The caller gets `{:tidepool_answer, id, answer}` with the id that this returns.
#[rustler::nif]
fn voter_answer<'a>(env: Env<'a>, voter: &'a VoterHandle, node: String, question: Binary<'a>) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (id, asker) = (NEXT.fetch_add(1, Ordering::Relaxed), env.pid());
    if let Some(voter) = &voter.voter {
        voter.answer(&node, message(question), move |answer| {
            // On a thread of the voter's. A dead asker needs no message.
            let _ = OwnedEnv::new()
                .send_and_clear(&asker, |env| (atoms::tidepool_answer(), id, encode::message(env, answer)).encode(env));
        });
    }
    id
}

/// Hands the voter an answer, `{:ok, bytes}`, or says why there is none, `{:error, why}`.
#[rustler::nif]
fn voter_answered<'a>(voter: &'a VoterHandle, id: u64, answer: (Atom, Binary<'a>)) -> Atom {
    let (kind, bytes) = answer;
    let answer = if kind == atoms::ok() {
        Ok(bytes.as_slice().to_vec())
    } else {
        Err(String::from_utf8_lossy(bytes.as_slice()).into())
    };
    if let Some(tell) = voter.asked.waiting().remove(&id) {
        // Who waits no longer needs no answer.
        let _gone = tell.send(answer);
    }
    atoms::ok()
}

/// `:member`, or `{:waiting | :catching_up | :outside | :refused | :full | :stopped, why}`.
#[rustler::nif]
fn voter_standing<'a>(env: Env<'a>, voter: &'a VoterHandle) -> Term<'a> {
    let behind = voter.voter.as_ref().and_then(Voter::behind);
    match (voter.voter.as_ref().map(Voter::standing), behind) {
        (Some(Standing::Member | Standing::Waiting(_)), Some(why)) => (atoms::catching_up(), why).encode(env),
        (standing, _behind) => stands(env, standing),
    }
}

fn stands(env: Env<'_>, standing: Option<Standing>) -> Term<'_> {
    match standing {
        Some(Standing::Member) => atoms::member().encode(env),
        Some(Standing::Waiting(why)) => (atoms::waiting(), &*why).encode(env),
        Some(Standing::Outside(why)) => (atoms::outside(), &*why).encode(env),
        Some(Standing::Refused(why)) => (atoms::refused(), &*why).encode(env),
        Some(Standing::Stopped(why)) => (atoms::stopped(), &*why).encode(env),
        Some(Standing::Full) => (atoms::full(), "there is no room on the disk").encode(env),
        None => (atoms::stopped(), "the voter has ended").encode(env),
    }
}

/// The names of the nodes that are members, as far as this voter knows.
#[rustler::nif]
fn voter_known(voter: &VoterHandle) -> Vec<String> {
    voter.voter.as_ref().map(Voter::known_members).unwrap_or_default()
}

/// Asks for the members. The caller gets
/// `{:tidepool_members, id, {:ok, [{node, votes, leads, answers, lacks, problem}]} | {:error, kind, message}}` with the id that this returns.
#[rustler::nif]
fn voter_members<'a>(env: Env<'a>, voter: &'a VoterHandle, within_ms: u64) -> u64 {
    let (id, told) = telling(env);
    if let Some(voter) = &voter.voter {
        voter.members(Duration::from_millis(within_ms), told);
    }
    id
}

/// Has a node added, removed or replaced as a member. The caller gets the members by then, or why they have not changed, as of
/// [`voter_members`].
#[rustler::nif]
fn voter_change<'a>(env: Env<'a>, voter: &'a VoterHandle, how: Atom, node: String, within_ms: u64) -> NifResult<u64> {
    let change = if how == atoms::add() {
        MemberChange::Add(node)
    } else if how == atoms::remove() {
        MemberChange::Remove(node)
    } else if how == atoms::replace() {
        MemberChange::Replace(node)
    } else {
        return Err(Error::BadArg);
    };
    let (id, told) = telling(env);
    if let Some(voter) = &voter.voter {
        voter.change_members(change, Duration::from_millis(within_ms), told);
    }
    Ok(id)
}

/// Has another voter lead, if this one does. The caller gets `{:tidepool_lead, id}` with the id that this returns when another leads, or
/// when that has not come about in time; nothing when the voter has ended.
#[rustler::nif]
fn voter_give_up_lead<'a>(env: Env<'a>, voter: &'a VoterHandle, within_ms: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (id, asker) = (NEXT.fetch_add(1, Ordering::Relaxed), env.pid());
    if let Some(voter) = &voter.voter {
        voter.give_up_lead(Duration::from_millis(within_ms), move || {
            // On a thread of the voter's. A dead asker needs no message.
            let _ = OwnedEnv::new().send_and_clear(&asker, |env| (atoms::tidepool_lead(), id).encode(env));
        });
    }
    id
}

/// An id, and what tells the caller of the members with it.
fn telling(env: Env<'_>) -> (u64, impl FnOnce(Result<Vec<MemberState>, StoreError>) + Send + 'static) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (id, asker) = (NEXT.fetch_add(1, Ordering::Relaxed), env.pid());
    let told = move |members: Result<Vec<MemberState>, StoreError>| {
        let row = |it: MemberState| (it.node, it.votes, it.leads, it.answers, it.lacks, it.problem);
        let rows = |members: Vec<MemberState>| (atoms::ok(), members.into_iter().map(row).collect::<Vec<_>>());
        // On a thread of the voter's. A dead asker needs no message.
        let _ = OwnedEnv::new()
            .send_and_clear(&asker, |env| (atoms::tidepool_members(), id, answer(env, members, rows)).encode(env));
    };
    (id, told)
}

fn ended() -> StoreError {
    StoreError::Stopped("the voter has ended".into())
}

/// `{:ok, records}` or `{:error, kind, message}`.
#[rustler::nif(schedule = "DirtyIo")]
fn open_replicated<'a>(env: Env<'a>, voter: &'a VoterHandle, node: String, incarnation: i64) -> Term<'a> {
    let records = voter
        .voter
        .as_ref()
        .map_or_else(|| Err(ended()), |voter| Records::open_replicated(voter, Owner { node, incarnation }));
    opened(env, records)
}
