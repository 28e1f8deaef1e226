//! How the host is asked, within which bounds, and what it answers.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lower, WasmList};

use crate::abi::component::define::Fault;
use crate::abi::memory::copied_of;
use crate::abi::outgoing::asked::{self, Answered};
use crate::abi::slots::State;
use crate::base::request::{HostRequest, ImportCall};
use crate::store::host_share::HostShare;
use crate::store::resting::begin_slice;
use crate::value::Value;

/// First two parts of the targets.
const BINDING: &str = "wasi";
const NAMESPACE: &str = "keyvalue";

/// Longest key, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 1 << 10;
/// Longest value, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 1 << 20;
/// Most keys of one request.
const MAX_KEYS: usize = 1_000;
/// Most bytes of the values of one request.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// A bucket's name, as the deploy has it.
pub(super) type Name = Arc<str>;

/// Why there is no result.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
pub(super) enum Error {
    #[component(name = "no-such-store")]
    #[expect(dead_code, reason = "the interface has it: what is not granted is denied, whether it is there or not")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

/// What a function answers.
pub(super) type Answer<T> = Result<T, Fault<Error>>;

impl From<Error> for Fault<Error> {
    fn from(error: Error) -> Self {
        Fault::Code(error)
    }
}

/// Suspends the guest until the store has answered what is to be done with a bucket. What it answers is counted in the share that comes
/// with it, which goes with what the guest is told of it. Something of it may be counted in `share` already.
///
/// # Errors
/// [`Error::Other`] with what the store says, or what has kept it from saying something. Stops a guest for which there is no room, and one
/// that is replayed and asks for what it did not ask for when it was recorded.
pub(super) async fn ask(
    store: &mut StoreContextMut<'_, State>,
    operation: &str,
    bucket: &Name,
    rest: impl IntoIterator<Item = Value>,
    share: Option<HostShare>,
) -> Answer<(Value, Option<HostShare>)> {
    let Some(call) = store.data().call.clone() else {
        return Err(Error::Other("no store answers while the guest starts".into()).into());
    };
    let arguments: Vec<Value> = [Value::Text((**bucket).into())].into_iter().chain(rest).collect();
    copied_of(store, arguments.iter().map(Value::size).sum()).await;
    let (namespace, operation) = (NAMESPACE.to_owned(), operation.to_owned());
    let asked = ImportCall { binding: BINDING, namespace, operation, arguments };
    let Answered { reply, share } = asked::ask(store, &call, HostRequest::Import(asked), share).await?;
    begin_slice(&mut *store);
    let answer = match reply {
        Ok(empty) if empty.is_empty() => call.channel.take_value().map_or(Value::Null, Arc::unwrap_or_clone),
        Ok(text) | Err(text) => return Err(Error::Other(String::from_utf8_lossy(&text).into_owned()).into()),
    };
    copied_of(store, answer.size()).await;
    Ok((answer, share))
}

/// What is told of a store whose answer is none.
pub(super) fn unfit() -> Error {
    Error::Other("the store's answer is none that its interface has".into())
}

/// A key of a guest's, as the store is asked for it.
///
/// # Errors
/// [`Error::Other`] when it is too long.
pub(super) fn key(key: String) -> Result<Value, Error> {
    short(&key)?;
    Ok(Value::Text(key.into()))
}

/// Is this key short enough?
pub(super) fn short(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::Other(format!("a key has at most {MAX_KEY_BYTES} bytes, and this one {}", key.len())));
    }
    Ok(())
}

/// The same of several.
///
/// # Errors
/// The same.
pub(super) fn keys(keys: Vec<String>) -> Result<Value, Error> {
    keys.into_iter().map(key).collect::<Result<_, _>>().map(Value::List)
}

/// Are these few enough for one request?
pub(super) fn few(keys: usize) -> Result<(), Error> {
    if keys > MAX_KEYS {
        return Err(Error::Other(format!("one request has at most {MAX_KEYS} keys, and this one {keys}")));
    }
    Ok(())
}

/// A value of a guest's, as the store is given it.
///
/// # Errors
/// [`Error::Other`] when it is too long.
pub(super) fn value(store: &StoreContextMut<'_, State>, value: &WasmList<u8>) -> Result<Value, Error> {
    if value.len() > MAX_VALUE_BYTES {
        let found = value.len();
        return Err(Error::Other(format!("a value has at most {MAX_VALUE_BYTES} bytes, and this one {found}")));
    }
    Ok(Value::Bytes(Bytes::copy_from_slice(value.as_le_slice(store))))
}

/// Are these bytes of values few enough for one request?
pub(super) fn small(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_BATCH_BYTES {
        let text = format!("the values of one request have at most {MAX_BATCH_BYTES} bytes, and these {bytes}");
        return Err(Error::Other(text));
    }
    Ok(())
}

/// What the store has under a key.
///
/// # Errors
/// [`Error::Other`] when the answer is none.
pub(super) fn found(answer: Value) -> Result<Option<Bytes>, Error> {
    match answer {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => Ok(Some(bytes)),
        _ => Err(unfit()),
    }
}
