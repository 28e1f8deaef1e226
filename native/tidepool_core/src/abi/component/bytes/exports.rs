//! Calls of exports whose arguments and result are bytes and texts.

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower};

use super::blob::{Blob, Lifted};
use crate::abi::slots::State;
use crate::abi::typed::shape::{Returned, Shape};
use crate::store::host_share::HostShare;
use crate::value::Value;

/// Calls the export; `None` when the arguments are told in another way. Its result is counted in `share`.
pub(in crate::abi::component) async fn call(
    shape: &Shape,
    store: &mut Store<State>,
    function: &Func,
    arguments: &[&Value],
    share: &mut Option<HostShare>,
) -> Option<wasmtime::Result<Value>> {
    let export = (shape.returned, function);
    Some(match (&shape.params[..], arguments) {
        ([], []) => returned(export, store, (), share).await,
        ([piece], [one]) => returned(export, store, (Blob::of(one, *piece)?,), share).await,
        ([piece, piece_of_other], [one, other]) => {
            let params = (Blob::of(one, *piece)?, Blob::of(other, *piece_of_other)?);
            returned(export, store, params, share).await
        }
        _ => return None,
    })
}

async fn returned<P: ComponentNamedList + Lower>(
    (shape, function): (Returned, &Func),
    store: &mut Store<State>,
    params: P,
    share: &mut Option<HostShare>,
) -> wasmtime::Result<Value> {
    match shape {
        Returned::Nothing => called::<_, ()>(store, function, params).await.map(|()| Value::Null),
        Returned::One(_) => {
            let (it,) = called::<_, (Lifted,)>(store, function, params).await?;
            value(store, it, share).await
        }
        Returned::Result(_) => {
            let (outcome,) = called::<_, (Result<Lifted, Lifted>,)>(store, function, params).await?;
            Ok(match outcome {
                Ok(it) => Value::Case("ok".into(), Box::new(value(store, it, share).await?)),
                Err(error) => Value::Case("error".into(), Box::new(value(store, error, share).await?)),
            })
        }
    }
}

/// What was returned: it is there until the caller has it.
async fn value(store: &mut Store<State>, lifted: Lifted, share: &mut Option<HostShare>) -> wasmtime::Result<Value> {
    store.data_mut().hold_on_host(share, lifted.host_bytes())?;
    lifted.value().await
}

async fn called<P, R>(store: &mut Store<State>, function: &Func, params: P) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    function.typed::<P, R>(&*store)?.call_async(&mut *store, params).await
}
