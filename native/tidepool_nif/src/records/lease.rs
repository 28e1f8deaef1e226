//! Records that several nodes share: their database, leases of nodes, and owners of shards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustler::{Encoder, Env, NifResult, OwnedEnv, Term};
use tidepool_records::{Answer, Ask, Key, NodeLease, Owner, Records, StoreError};

use super::store::{RecordsHandle, failure, opened};
use crate::terms::atoms;
use crate::terms::decode::{List, Short};

/// `{:ok, records}` or `{:error, kind, message}`.
#[rustler::nif(schedule = "DirtyIo")]
fn open_shared(env: Env<'_>, url: String, node: String, incarnation: i64) -> Term<'_> {
    opened(env, Records::open_shared(&url, Owner { node, incarnation }))
}

/// `{:ok, [{node, incarnation, left_ms}]}` or `{:ok, {:new, nodes}}`, in a message as all answers here.
#[rustler::nif]
fn lease_renew(env: Env<'_>, records: &RecordsHandle, lease_ms: u32, timeout_ms: u32) -> u64 {
    ask(env, records, Ask::Renew(lease_ms), timeout_ms)
}

/// `{:ok, []}`.
#[rustler::nif]
fn lease_release(env: Env<'_>, records: &RecordsHandle, timeout_ms: u32) -> u64 {
    ask(env, records, Ask::Release, timeout_ms)
}

/// `{:ok, [{shard, epoch, node | nil}]}`.
#[rustler::nif]
fn shards(env: Env<'_>, records: &RecordsHandle, timeout_ms: u32) -> u64 {
    ask(env, records, Ask::Shards, timeout_ms)
}

/// `{:ok, [{shard, epoch}]}`.
#[rustler::nif]
fn shards_claim<'a>(env: Env<'a>, records: &'a RecordsHandle, wanted: List<Short>, timeout_ms: u32) -> u64 {
    let wanted = wanted.0.into_iter().map(|Short(id)| id).collect();
    ask(env, records, Ask::Claim(wanted), timeout_ms)
}

/// `{:ok, [{shard, epoch}]}`.
#[rustler::nif]
fn shards_hand<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    given: List<(Short, Term<'a>)>,
    to: Option<String>,
    timeout_ms: u32,
) -> NifResult<u64> {
    let given = given.0.into_iter().map(|(Short(id), epoch)| Ok((id, super::change::number(epoch)?)));
    Ok(ask(env, records, Ask::Hand(given.collect::<NifResult<_>>()?, to), timeout_ms))
}

/// The shard of a record: the same on every node.
#[rustler::nif]
fn record_shard(class: String, name: String) -> u16 {
    Key::new(class, name).shard()
}

/// Asks, and has the caller sent `{:tidepool_lease, id, {:ok, answer} | {:error, kind, message}}` with the id that this returns.
fn ask(env: Env<'_>, records: &RecordsHandle, ask: Ask, timeout_ms: u32) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (id, asker) = (NEXT.fetch_add(1, Ordering::Relaxed), env.pid());
    let told = move |answer| {
        // On the store's own thread. A dead asker needs no message.
        let _ = OwnedEnv::new().send_and_clear(&asker, |env| message(env, id, &answer));
    };
    if let Err(error) = records.0.lease(ask, Duration::from_millis(timeout_ms.into()), told) {
        let _ = env.send(&asker, message(env, id, &Err(error)));
    }
    id
}

fn message<'a>(env: Env<'a>, id: u64, answer: &Result<Answer, StoreError>) -> Term<'a> {
    let nodes = |nodes: &[NodeLease]| {
        nodes.iter().map(|it| (it.node.as_str(), it.incarnation, it.left_ms)).collect::<Vec<_>>().encode(env)
    };
    let answer = match answer {
        Ok(Answer::Nodes(found)) => (atoms::ok(), nodes(found)).encode(env),
        Ok(Answer::New(found)) => (atoms::ok(), (atoms::new(), nodes(found))).encode(env),
        Ok(Answer::Released) => (atoms::ok(), Vec::<Term<'_>>::new()).encode(env),
        Ok(Answer::Shards(found)) => {
            let shards = found.iter().map(|it| (it.id, it.epoch, it.owner.as_deref()));
            (atoms::ok(), shards.collect::<Vec<_>>()).encode(env)
        }
        Ok(Answer::Moved(moved)) => (atoms::ok(), moved.clone()).encode(env),
        Err(error) => failure(env, error),
    };
    (atoms::tidepool_lease(), id, answer).encode(env)
}
