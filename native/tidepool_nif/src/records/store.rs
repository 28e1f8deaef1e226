//! Records, as a term.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustler::{Atom, Binary, Encoder, Env, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_errors::Reason;
use tidepool_records::{Found, Head, Key, Load, MostOfEach, MostValues, Record, Records, StoreError};

use super::change::change;
use crate::terms::decode::List;
use crate::terms::{atoms, encode};

/// Records in use. Dropping them waits for nothing: the thread that writes closes what it has.
pub(super) struct RecordsHandle(pub(super) Records);

#[rustler::resource_impl]
impl Resource for RecordsHandle {}

/// Records that a list has at most, whatever is asked for: each is a term.
const MOST: usize = 1 << 20;

/// `{:ok, records}` or `{:error, kind, message}`. The caller gets `{:tidepool_records, {:stopped, why} | :ok}` when nothing is written
/// any more, and when all is again.
#[rustler::nif(schedule = "DirtyIo")]
fn open_records(env: Env<'_>, path: String) -> Term<'_> {
    let owner = env.pid();
    let told = move |why: Option<&str>| {
        // On the store's own thread. A dead owner needs no message.
        let _ = OwnedEnv::new().send_and_clear(&owner, |env| match why {
            Some(why) => (atoms::tidepool_records(), (atoms::stopped(), why)).encode(env),
            None => (atoms::tidepool_records(), atoms::ok()).encode(env),
        });
    };
    opened(env, Records::open_told(Path::new(&path), Box::new(told)))
}

/// `{:ok, missing | nil}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn accept_records(env: Env<'_>, path: String) -> Term<'_> {
    answer(env, Records::accept(Path::new(&path)), |missing| (atoms::ok(), missing))
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

/// Does no change of a record wait for being written?
#[rustler::nif]
fn record_settled(records: &RecordsHandle, class: String, name: String) -> bool {
    records.0.is_settled(&Key::new(class, name))
}

/// `{changes, most, bytes, most_bytes}` of what waits for being written.
#[rustler::nif]
fn records_waiting(records: &RecordsHandle) -> (usize, usize, usize, usize) {
    let Load { changes, bytes } = records.0.waiting();
    (changes, Load::MOST.changes, bytes, Load::MOST.bytes)
}

/// `{:ok, nil | {epoch, seq, alarm_at, head, image}}`, or an error. What follows an image is behind it.
#[rustler::nif(schedule = "DirtyIo")]
fn read_record<'a>(env: Env<'a>, records: &'a RecordsHandle, class: String, name: String) -> Term<'a> {
    let found = records.0.read(&Key::new(class, name));
    answer(env, found, |found| (atoms::ok(), found.map(|found| record(env, found))))
}

/// The same, or `{:larger, {seq, alarm_at, bytes, head}}`.
#[rustler::nif(schedule = "DirtyIo")]
fn read_record_up_to<'a>(env: Env<'a>, records: &'a RecordsHandle, class: String, name: String, most: u64) -> Term<'a> {
    match records.0.read_up_to(&Key::new(class, name), most) {
        Ok(Some(Found::Larger(found))) => (atoms::larger(), known(env, &found)).encode(env),
        Ok(Some(Found::Whole(found))) => (atoms::ok(), record(env, found)).encode(env),
        Ok(None) => (atoms::ok(), None::<bool>).encode(env),
        Err(error) => answer(env, Err(error), |(): ()| ()),
    }
}

/// What is to be known of a record before its image is read.
fn known<'a>(env: Env<'a>, found: &Head) -> (u64, Option<i64>, u64, Term<'a>) {
    (found.seq, found.alarm_at, found.bytes, encode::copy(env, &found.head))
}

/// `{:ok, nil | {seq, alarm_at, bytes, head}}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn record_head<'a>(env: Env<'a>, records: &'a RecordsHandle, class: String, name: String) -> Term<'a> {
    let found = records.0.head(&Key::new(class, name));
    answer(env, found, |found| (atoms::ok(), found.map(|found| known(env, &found))))
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
    let value = records.0.value(&Key::new(class, name), key.as_slice());
    answer(env, value, |value| (atoms::ok(), value.map(|value| encode::message(env, value))))
}

/// `{:ok, [{key, value}]}`, or an error: so many values, and of so many bytes, at most.
#[rustler::nif(schedule = "DirtyIo")]
fn record_values<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    class: String,
    name: String,
    prefix: Binary<'a>,
    after: Option<Binary<'a>>,
    most: (usize, Option<usize>),
) -> Term<'a> {
    let most = MostValues { values: most.0.min(MOST), bytes: most.1.unwrap_or(usize::MAX) };
    let after = after.as_ref().map(Binary::as_slice);
    let pair = |(key, value): (Vec<u8>, Vec<u8>)| (encode::copy(env, &key), encode::message(env, value));
    let values = records.0.values(&Key::new(class, name), prefix.as_slice(), after, most);
    answer(env, values, |values| (atoms::ok(), values.into_iter().map(pair).collect::<Vec<_>>()))
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
    answer(env, records.0.list(&class, from.as_ref(), limit.min(MOST)), |page| {
        let found = page.records.into_iter().map(|it| (it.key.name, it.seq, it.alarm_at, it.bytes));
        (atoms::ok(), found.collect::<Vec<_>>(), page.next.map(|key| key.name))
    })
}

/// `{:ok, [{name, head | nil}], next}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn record_heads<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    class: String,
    from: Option<String>,
    limit: usize,
) -> Term<'a> {
    let from = from.map(|name| Key::new(class.as_str(), name));
    answer(env, records.0.heads(&class, from.as_ref(), limit.min(MOST)), |page| {
        let found = page.records.into_iter().map(|(name, head)| (name, head.map(|head| encode::copy(env, &head))));
        (atoms::ok(), found.collect::<Vec<_>>(), page.next.map(|key| key.name))
    })
}

/// `{:ok, [class]}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn record_classes<'a>(env: Env<'a>, records: &'a RecordsHandle, after: String, limit: usize) -> Term<'a> {
    answer(env, records.0.classes(&after, limit.min(MOST)), |classes| (atoms::ok(), classes))
}

/// `{:ok, records, bytes}` of a namespace, or an error; 0 bytes when they are not to be counted.
#[rustler::nif(schedule = "DirtyIo")]
fn records_usage<'a>(env: Env<'a>, records: &'a RecordsHandle, namespace: String, with_bytes: bool) -> Term<'a> {
    answer(env, records.0.usage(&namespace, with_bytes), |usage| (atoms::ok(), usage.records, usage.bytes))
}

/// `{:ok, [{at, class, name}]}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn record_alarms<'a>(
    env: Env<'a>,
    records: &'a RecordsHandle,
    until_ms: i64,
    each: usize,
    more: List<(String, usize)>,
) -> Term<'a> {
    let more = more.0.into_iter().map(|(namespace, more)| (namespace, more.min(MOST)));
    answer(env, records.0.alarms(until_ms, &MostOfEach::new(each.min(MOST), more)), |alarms| {
        let due = alarms.into_iter().map(|(at, key)| (at, key.class, key.name));
        (atoms::ok(), due.collect::<Vec<_>>())
    })
}

fn record(env: Env<'_>, record: Record) -> Term<'_> {
    let Record { epoch, seq, alarm_at, head, images } = record;
    let image = images.into_iter().reduce(|mut image, change| {
        image.extend(change);
        image
    });
    let image = image.map(|image| encode::message(env, image));
    (epoch, seq, alarm_at, encode::copy(env, &head), image).encode(env)
}

fn committed<'a>(env: Env<'a>, id: u64, outcome: &Result<(), StoreError>) -> Term<'a> {
    let outcome = outcome.as_ref().map_or_else(|error| failure(env, error), |()| atoms::ok().encode(env));
    (atoms::tidepool_committed(), id, outcome).encode(env)
}

/// `{:ok, records}` or `{:error, kind, message}`.
pub(super) fn opened(env: Env<'_>, records: Result<Records, StoreError>) -> Term<'_> {
    answer(env, records, |records| (atoms::ok(), ResourceArc::new(RecordsHandle(records))))
}

/// What `found` makes of what was asked for, or an error.
pub(super) fn answer<'a, T, Found: Encoder>(
    env: Env<'a>,
    outcome: Result<T, StoreError>,
    found: impl FnOnce(T) -> Found,
) -> Term<'a> {
    outcome.map_or_else(|error| failure(env, &error), |value| found(value).encode(env))
}

/// `{:error, kind, message}`.
pub(super) fn failure<'a>(env: Env<'a>, error: &StoreError) -> Term<'a> {
    (atoms::error(), kind(env, error), error.to_string()).encode(env)
}

/// Reasons of an actor's error, and words of the records' own.
fn kind(env: Env<'_>, error: &StoreError) -> Atom {
    match error {
        StoreError::Fenced { .. } | StoreError::Replaced(_) => atoms::fenced(),
        StoreError::OutOfOrder { .. } => atoms::out_of_order(),
        StoreError::Crowded { .. } => atoms::crowded(),
        StoreError::TooLarge { .. } => atoms::too_large(),
        StoreError::Damaged { .. } | StoreError::Corrupt(_) | StoreError::Behind(_) => atoms::damaged(),
        StoreError::Newer { .. } => atoms::newer(),
        StoreError::Full => atoms::full(),
        StoreError::Members(_) => atoms::reason(env, Reason::MembersUnchanged),
        StoreError::Overloaded => atoms::reason(env, Reason::Overloaded),
        StoreError::Stopped(_) => atoms::stopped(),
        StoreError::Away(_) => atoms::reason(env, Reason::NoStore),
        StoreError::Unknown(_) => atoms::reason(env, Reason::UnknownOutcome),
        StoreError::NoLease(_) => atoms::no_lease(),
        StoreError::Chain { .. }
        | StoreError::OfVoter
        | StoreError::OfNoVoter
        | StoreError::NoVoter(_)
        | StoreError::TooLong { .. }
        | StoreError::Url(_)
        | StoreError::Rights(_)
        | StoreError::NotShared
        | StoreError::Torn(_)
        | StoreError::Taken(_)
        | StoreError::There(_)
        | StoreError::InUse(_)
        | StoreError::File(_)
        | StoreError::Postgres(_)
        | StoreError::Sqlite(_) => atoms::failed(),
    }
}
