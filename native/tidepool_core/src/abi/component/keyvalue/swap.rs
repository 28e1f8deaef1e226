//! Swaps: a value is put in place of one that was seen before, unless there is another by then.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lower, Resource, WasmList};

use super::asked::{self, Answer, Error, Name, ask, unfit};
use super::bucket::{Bucket, name};
use super::snapshots::{Full, Kept, MAX_KEPT_BYTES};
use crate::abi::component::counted::Counted;
use crate::abi::component::define::{Fault, Text};
use crate::abi::component::table::table_of;
use crate::abi::memory::copied_of;
use crate::abi::slots::State;
use crate::value::Value;

/// A swap that is to come: the key, and what was there when the handle was made.
pub(in crate::abi::component) struct Cas {
    bucket: Name,
    key: String,
    seen: Option<Bytes>,
    kept: Kept,
}

impl Cas {
    /// A handle, within what a guest's handles may keep. The value is copied: the answer's own bytes are the VM's.
    fn new(
        store: &mut StoreContextMut<'_, State>,
        bucket: Name,
        key: String,
        seen: Option<Bytes>,
    ) -> Result<Self, Error> {
        let bytes = key.len() + seen.as_ref().map_or(0, Bytes::len);
        let State { meter, abi, .. } = store.data_mut();
        let context = abi.component.context.as_mut().ok_or_else(unfit)?;
        let kept = context.snapshots.keep(bytes, |more| meter.keep_if_room(more)).map_err(|full| {
            Error::Other(match full {
                Full::Handles => format!("handles of swaps keep at most {MAX_KEPT_BYTES} bytes of values: drop some"),
                Full::Memory => {
                    format!("the memory limit has no room for the {bytes} bytes that this handle would keep")
                }
            })
        })?;
        Ok(Cas { bucket, key, seen: seen.map(|seen| Bytes::copy_from_slice(&seen)), kept })
    }
}

/// Why a swap was not made.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub(super) enum CasError {
    #[component(name = "store-error")]
    Store(Error),
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

impl From<Error> for Fault<CasError> {
    fn from(error: Error) -> Self {
        Fault::Code(CasError::Store(error))
    }
}

impl From<Fault<Error>> for Fault<CasError> {
    fn from(fault: Fault<Error>) -> Self {
        match fault {
            Fault::Code(error) => error.into(),
            Fault::Stop(error) => Fault::Stop(error),
        }
    }
}

/// Sees what is there.
pub(super) async fn new(
    store: &mut StoreContextMut<'_, State>,
    (bucket, key): (Resource<Bucket>, Text),
) -> Answer<Resource<Cas>> {
    let (bucket, key) = (name(store, &bucket)?, String::from(key));
    let (answer, _share) = ask(store, "get", &bucket, [asked::key(key.clone())?], None).await?;
    let cas = Cas::new(store, bucket, key, asked::found(answer)?)?;
    Ok(table_of(store).push(cas)?)
}

/// What was there when the handle was made.
pub(super) async fn current(
    store: &mut StoreContextMut<'_, State>,
    (cas,): (Resource<Cas>,),
) -> Answer<Counted<Option<Vec<u8>>>> {
    let seen = table_of(store).get(&cas)?.seen.clone();
    let (mut share, bytes) = (None, seen.as_ref().map_or(0, Bytes::len));
    store.data_mut().hold_on_host(&mut share, bytes)?;
    copied_of(store, bytes).await;
    Ok(Counted::new(seen.map(|bytes| bytes.to_vec()), share))
}

/// Puts a value in place of what was seen. When there is another by now, the guest gets a handle that has seen that.
pub(super) async fn swap(
    store: &mut StoreContextMut<'_, State>,
    (cas, value): (Resource<Cas>, WasmList<u8>),
) -> Result<(), Fault<CasError>> {
    let Cas { bucket, key, seen, kept } = table_of(store).delete(cas)?;
    let value = asked::value(store, &value)?;
    let expected = seen.map_or(Value::Null, Value::Bytes);
    let arguments = [asked::key(key.clone())?, expected, value];
    let (answer, _share) = ask(store, "swap", &bucket, arguments, None).await?;
    let found = match &answer {
        Value::Name(swapped) if &**swapped == "swapped" => return Ok(()),
        Value::Tuple(changed) => match &changed[..] {
            [Value::Name(changed), found] if &**changed == "changed" => asked::found(found.clone())?,
            _ => return Err(unfit().into()),
        },
        _ => return Err(unfit().into()),
    };
    // What it kept makes room for what the next one keeps.
    drop(kept);
    let cas = Cas::new(store, bucket, key, found)?;
    Err(Fault::Code(CasError::Failed(table_of(store).push(cas)?)))
}
