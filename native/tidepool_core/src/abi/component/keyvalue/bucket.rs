//! Buckets: opened by their names, read, written and listed.

use std::collections::VecDeque;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Lower, Resource, WasmList};

use super::asked::{self, Answer, Error, Name, ask, unfit};
use crate::abi::component::counted::Counted;
use crate::abi::component::define::Text;
use crate::abi::component::table::table_of;
use crate::abi::outgoing::grants;
use crate::abi::slots::State;
use crate::base::console::Stream;
use crate::store::host_share::HostShare;
use crate::value::Value;

/// Cursors that a handle of a bucket knows, the last ones.
const CURSORS: usize = 4;
/// Most characters that are told of a name which is not granted.
const SHOWN: usize = 64;

/// A bucket that a guest has opened.
pub(in crate::abi::component) struct Bucket {
    pub(super) name: Name,
    /// Where pages of keys have ended that a guest has by numbers, and the number of the next one.
    pages: VecDeque<(u64, String)>,
    next: u64,
}

/// A page of keys.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct KeyResponse<C> {
    keys: Vec<String>,
    cursor: Option<C>,
}

/// By what a guest asks for the next page of keys: those that come after a key.
pub(super) trait Cursor: Sized {
    /// It as the guest gives it.
    type Given: Lift + 'static;

    /// The key.
    fn after(given: Self::Given, bucket: &Bucket) -> Result<String, Error>;
    /// What the guest gets for it.
    fn at(bucket: &mut Bucket, key: String) -> Self;
}

/// The key itself.
impl Cursor for String {
    type Given = Text;

    fn after(given: Text, _bucket: &Bucket) -> Result<String, Error> {
        Ok(given.into())
    }

    fn at(_bucket: &mut Bucket, key: String) -> Self {
        key
    }
}

/// A number that the handle of the bucket knows.
impl Cursor for u64 {
    type Given = u64;

    fn after(given: u64, bucket: &Bucket) -> Result<String, Error> {
        let found = bucket.pages.iter().find(|(number, _key)| *number == given);
        found.map(|(_number, key)| key.clone()).ok_or_else(|| {
            Error::Other(format!("a bucket's handle knows the {CURSORS} last cursors that it gave: list the keys anew"))
        })
    }

    fn at(bucket: &mut Bucket, key: String) -> Self {
        if bucket.pages.len() >= CURSORS {
            bucket.pages.pop_front();
        }
        bucket.next += 1;
        bucket.pages.push_back((bucket.next, key));
        bucket.next
    }
}

/// Opens a bucket that is granted. What is not is told on the function's console: the error has no room for it.
pub(super) fn open(store: &mut StoreContextMut<'_, State>, (name,): (Text,)) -> Answer<Resource<Bucket>> {
    let state = store.data();
    // A probe is to change nothing, and to see nothing that another one might not.
    if !grants::serves(state) {
        return Err(Error::AccessDenied.into());
    }
    let Some(name) = state.function.keyvalue.iter().find(|granted| ***granted == *name).cloned() else {
        let shown: String = name.chars().take(SHOWN).collect();
        let text = format!(
            "the function is not granted the bucket {shown:?}: its deploy's option `keyvalue` lists those that it may open"
        );
        state.function.print(Stream::Console, text.as_bytes());
        return Err(Error::AccessDenied.into());
    };
    Ok(table_of(store).push(Bucket { name, pages: VecDeque::new(), next: 0 })?)
}

/// The name of an open bucket.
pub(super) fn name(store: &mut StoreContextMut<'_, State>, bucket: &Resource<Bucket>) -> wasmtime::Result<Name> {
    Ok(Arc::clone(&table_of(store).get(bucket)?.name))
}

pub(super) async fn get(
    store: &mut StoreContextMut<'_, State>,
    (bucket, key): (Resource<Bucket>, Text),
) -> Answer<Counted<Option<Vec<u8>>>> {
    let bucket = name(store, &bucket)?;
    let (answer, share) = ask(store, "get", &bucket, [asked::key(key.into())?], None).await?;
    Ok(Counted::new(asked::found(answer)?.map(|bytes| bytes.to_vec()), share))
}

pub(super) async fn set(
    store: &mut StoreContextMut<'_, State>,
    (bucket, key, value): (Resource<Bucket>, Text, WasmList<u8>),
) -> Answer<()> {
    let bucket = name(store, &bucket)?;
    let value = asked::value(store, &value)?;
    ask(store, "set", &bucket, [asked::key(key.into())?, value], None).await?;
    Ok(())
}

pub(super) async fn delete(
    store: &mut StoreContextMut<'_, State>,
    (bucket, key): (Resource<Bucket>, Text),
) -> Answer<()> {
    let bucket = name(store, &bucket)?;
    ask(store, "delete", &bucket, [asked::key(key.into())?], None).await?;
    Ok(())
}

pub(super) async fn exists(
    store: &mut StoreContextMut<'_, State>,
    (bucket, key): (Resource<Bucket>, Text),
) -> Answer<bool> {
    let bucket = name(store, &bucket)?;
    match ask(store, "exists", &bucket, [asked::key(key.into())?], None).await? {
        (Value::Bool(exists), _share) => Ok(exists),
        _ => Err(unfit().into()),
    }
}

/// The keys of a bucket, a page at a time, in their order.
pub(super) async fn list_keys<C: Cursor>(
    store: &mut StoreContextMut<'_, State>,
    (bucket, cursor): (Resource<Bucket>, Option<C::Given>),
) -> Answer<Counted<KeyResponse<C>>> {
    let open = table_of(store).get(&bucket)?;
    let name = Arc::clone(&open.name);
    let after = match cursor.map(|cursor| C::after(cursor, open)).transpose()? {
        Some(after) => asked::key(after)?,
        None => Value::Null,
    };
    let (keys, more, share) = page(store, &name, after).await?;
    let last = keys.last().filter(|_last| more).cloned();
    let cursor = match last {
        Some(last) => Some(C::at(table_of(store).get_mut(&bucket)?, last)),
        None => None,
    };
    Ok(Counted::new(KeyResponse { keys, cursor }, share))
}

/// The next keys that a guest could ask for, and whether there are more. Others, which programs beside the node have put there, are
/// left out: those that are no text, and longer ones. So a page of the store's may have none, and the one after it is asked for.
async fn page(
    store: &mut StoreContextMut<'_, State>,
    name: &Name,
    mut after: Value,
) -> Answer<(Vec<String>, bool, Option<HostShare>)> {
    loop {
        let (answer, share) = ask(store, "list-keys", name, [after.clone()], None).await?;
        let Value::Tuple(answer) = answer else { return Err(unfit().into()) };
        let [Value::List(found), Value::Bool(more)] = &answer[..] else { return Err(unfit().into()) };
        let keys: Vec<String> = found.iter().filter_map(askable).collect();
        match found.last() {
            Some(last) if *more && keys.is_empty() && *last != after => after = last.clone(),
            _ => return Ok((keys, *more, share)),
        }
    }
}

/// A key of a store's, if a guest could ask for it.
fn askable(key: &Value) -> Option<String> {
    let Value::Bytes(key) = key else { return None };
    let text = std::str::from_utf8(key).ok()?;
    (text.len() <= asked::MAX_KEY_BYTES).then(|| text.to_owned())
}

/// Adds to a number, which is kept as decimal text. `N` is the interface's type of it.
pub(super) async fn increment<N: Into<i128> + TryFrom<i128>>(
    store: &mut StoreContextMut<'_, State>,
    (bucket, key, delta): (Resource<Bucket>, Text, N),
) -> Answer<N> {
    let bucket = name(store, &bucket)?;
    let delta: i128 = delta.into();
    if i64::try_from(delta).is_err() {
        return Err(Error::Other(format!("at most {} is added at once", i64::MAX)).into());
    }
    match ask(store, "increment", &bucket, [asked::key(key.into())?, Value::Int(delta)], None).await? {
        (Value::Int(sum), _share) => {
            Ok(N::try_from(sum)
                .map_err(|_| Error::Other(format!("the number is {sum} now, which has no sign here")))?)
        }
        _ => Err(unfit().into()),
    }
}
