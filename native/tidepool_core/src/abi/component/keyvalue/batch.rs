//! Many keys by one request.

use wasmtime::StoreContextMut;
use wasmtime::component::{Lift, Resource, WasmList};

use super::asked::{self, Answer, ask, unfit};
use super::bucket::{Bucket, name};
use crate::abi::component::counted::Counted;
use crate::abi::component::define::Text;
use crate::abi::slots::State;
use crate::value::Value;

/// What a list has, if that is little enough for one request: it is counted before it is copied, and no key behind one that is too long is
/// decoded.
fn few<T: Lift>(
    store: &mut StoreContextMut<'_, State>,
    list: &WasmList<T>,
    key: impl Fn(&T) -> &str,
) -> Answer<Vec<T>> {
    asked::few(list.len())?;
    let mut all = Vec::with_capacity(list.len());
    for element in list.iter(&mut *store)? {
        let element = element?;
        asked::short(key(&element))?;
        all.push(element);
    }
    Ok(all)
}

/// The pairs of those keys that are there, each where its key is.
pub(super) async fn get_many(
    store: &mut StoreContextMut<'_, State>,
    (bucket, keys): (Resource<Bucket>, WasmList<Text>),
) -> Answer<Counted<Vec<Option<(String, Vec<u8>)>>>> {
    let bucket = name(store, &bucket)?;
    let keys: Vec<String> = few(store, &keys, |key| key)?.into_iter().map(String::from).collect();
    let asked = asked::keys(keys.clone())?;
    // They are there twice: as the store is asked for them, and as the guest gets them with their values.
    let (mut share, bytes) = (None, keys.iter().map(String::len).sum::<usize>());
    store.data_mut().hold_on_host(&mut share, bytes.saturating_mul(2))?;
    let (answer, mut share) = ask(store, "get-many", &bucket, [asked], share).await?;
    store.data_mut().hold_on_host(&mut share, bytes.saturating_add(answer.size()))?;
    let Value::List(values) = answer else { return Err(unfit().into()) };
    if values.len() != keys.len() {
        return Err(unfit().into());
    }
    let pair = |(key, value)| Ok(asked::found(value)?.map(|bytes| (key, bytes.to_vec())));
    Ok(Counted::new(keys.into_iter().zip(values).map(pair).collect::<Answer<_>>()?, share))
}

pub(super) async fn set_many(
    store: &mut StoreContextMut<'_, State>,
    (bucket, pairs): (Resource<Bucket>, WasmList<(Text, WasmList<u8>)>),
) -> Answer<()> {
    let bucket = name(store, &bucket)?;
    let pairs = few(store, &pairs, |(key, _value)| key)?;
    // Before they are copied.
    asked::small(pairs.iter().map(|(_key, value)| value.len()).sum())?;
    let mut given = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        given.push(Value::Tuple(vec![asked::key(key.into())?, asked::value(store, &value)?]));
    }
    ask(store, "set-many", &bucket, [Value::List(given)], None).await?;
    Ok(())
}

pub(super) async fn delete_many(
    store: &mut StoreContextMut<'_, State>,
    (bucket, keys): (Resource<Bucket>, WasmList<Text>),
) -> Answer<()> {
    let bucket = name(store, &bucket)?;
    let keys: Vec<String> = few(store, &keys, |key| key)?.into_iter().map(String::from).collect();
    ask(store, "delete-many", &bucket, [asked::keys(keys)?], None).await?;
    Ok(())
}
