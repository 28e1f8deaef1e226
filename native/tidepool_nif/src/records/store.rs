//! Records, as a term.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustler::{Atom, Binary, Encoder, Env, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_records::{Key, Record, Records, StoreError};

use super::change::change;
use crate::terms::{atoms, encode};

/// Records in use. Dropping them waits for nothing: the thread that writes closes what it has.
pub(super) struct RecordsHandle(pub(super) Records);

#[rustler::resource_impl]
impl Resource for RecordsHandle {}

/// Records that a list has at most, whatever is asked for: each is a term.
const MOST: usize = 1 << 20;

/// `{:ok, records}` or `{:error, kind, message}`.
#[rustler::nif(schedule = "DirtyIo")]
fn open_records(env: Env<'_>, path: String) -> Term<'_> {
    match Records::open(Path::new(&path)) {
        Ok(records) => (atoms::ok(), ResourceArc::new(RecordsHandle(records))).encode(env),
        Err(error) => failure(env, &error),
    }
}

/// Has a change written. The caller gets `{:tidepool_committed, id, :ok | {:error, kind, message}}` with the id that this returns.
#[rustler::nif]
fn commit_record<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    class: String,
    name: String,
    put: Term<'a>,
) -> NifResult<u64> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let change = change(put)?;
    let (id, owner) = (NEXT.fetch_add(1, Ordering::Relaxed), env.pid());
    let told = move |outcome| {
        // On the store's own thread. A dead owner needs no message.
        let _ = OwnedEnv::new().send_and_clear(&owner, |env| committed(env, id, &outcome));
    };
    if let Err(error) = records.0.commit(Key::new(class, name), change, Box::new(told)) {
        let _ = env.send(&owner, committed(env, id, &Err(error)));
    }
    Ok(id)
}

/// `{:ok, nil | {epoch, seq, alarm_at, head, image}}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn read_record<'a>(env: Env<'a>, records: &'a RecordsHandle, class: String, name: String) -> Term<'a> {
    match records.0.read(&Key::new(class, name)) {
        Ok(Some(found)) => record(env, found),
        Ok(None) => (atoms::ok(), atoms::nil()).encode(env),
        Err(error) => failure(env, &error),
    }
}

/// `{:ok, value | nil}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn record_value<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    class: String,
    name: String,
    key: Binary<'a>,
) -> Term<'a> {
    match records.0.value(&Key::new(class, name), key.as_slice()) {
        Ok(value) => (atoms::ok(), value.map(|value| encode::message(env, value))).encode(env),
        Err(error) => failure(env, &error),
    }
}

/// `{:ok, [{key, value}]}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn record_values<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    class: String,
    name: String,
    prefix: Binary<'a>,
    after: Option<Binary<'a>>,
    limit: usize,
) -> Term<'a> {
    let after = after.as_ref().map(Binary::as_slice);
    match records.0.values(&Key::new(class, name), prefix.as_slice(), after, limit.min(MOST)) {
        Ok(values) => {
            let pair = |(key, value): (Vec<u8>, Vec<u8>)| (encode::copy(env, &key), encode::message(env, value));
            (atoms::ok(), values.into_iter().map(pair).collect::<Vec<_>>()).encode(env)
        }
        Err(error) => failure(env, &error),
    }
}

/// `{:ok, [{name, seq, alarm_at, bytes}], next}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn list_records<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    class: String,
    from: Option<String>,
    limit: usize,
) -> Term<'a> {
    let from = from.map(|name| Key::new(class.as_str(), name));
    match records.0.list(&class, from.as_ref(), limit.min(MOST)) {
        Ok(page) => {
            let found = page.records.into_iter().map(|it| (it.key.name, it.seq, it.alarm_at, it.bytes));
            (atoms::ok(), found.collect::<Vec<_>>(), page.next.map(|key| key.name)).encode(env)
        }
        Err(error) => failure(env, &error),
    }
}

/// `{:ok, [{at, class, name}]}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn record_alarms<'a>(env: Env<'a>, records: &'a RecordsHandle, until_ms: i64, limit: usize) -> Term<'a> {
    match records.0.alarms(until_ms, limit.min(MOST)) {
        Ok(alarms) => {
            let due = alarms.into_iter().map(|(at, key)| (at, key.class, key.name));
            (atoms::ok(), due.collect::<Vec<_>>()).encode(env)
        }
        Err(error) => failure(env, &error),
    }
}

fn record(env: Env<'_>, record: Record) -> Term<'_> {
    let Record { epoch, seq, alarm_at, head, mut images } = record;
    let image = images.pop();
    if !images.is_empty() {
        let message = "the record has a chain of images: a later version wrote it";
        return (atoms::error(), atoms::newer(), message).encode(env);
    }
    let image = image.map(|image| encode::message(env, image));
    (atoms::ok(), (epoch, seq, alarm_at, encode::copy(env, &head), image)).encode(env)
}

fn committed<'a>(env: Env<'a>, id: u64, outcome: &Result<(), StoreError>) -> Term<'a> {
    let outcome = match outcome {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => failure(env, error),
    };
    (atoms::tidepool_committed(), id, outcome).encode(env)
}

/// `{:error, kind, message}`.
pub(super) fn failure<'a>(env: Env<'a>, error: &StoreError) -> Term<'a> {
    (atoms::error(), kind(error), error.to_string()).encode(env)
}

fn kind(error: &StoreError) -> Atom {
    match error {
        StoreError::Fenced { .. } | StoreError::Replaced(_) => atoms::fenced(),
        StoreError::OutOfOrder { .. } => atoms::out_of_order(),
        StoreError::Damaged { .. } | StoreError::Corrupt(_) => atoms::damaged(),
        StoreError::Newer { .. } => atoms::newer(),
        StoreError::Full => atoms::full(),
        StoreError::Overloaded => atoms::overloaded(),
        StoreError::Stopped(_) => atoms::stopped(),
        StoreError::Away(_) => atoms::no_store(),
        StoreError::Unknown(_) => atoms::unknown_outcome(),
        StoreError::NoLease(_) => atoms::no_lease(),
        StoreError::Chain { .. }
        | StoreError::TooLong { .. }
        | StoreError::Url(_)
        | StoreError::Rights(_)
        | StoreError::NotShared
        | StoreError::Postgres(_)
        | StoreError::Sqlite(_) => atoms::failed(),
    }
}
