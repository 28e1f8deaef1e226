//! Calls of exports whose arguments and result are bytes and texts.

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower};

use super::blob::{Blob, Lifted};
use crate::abi::slots::State;
use crate::abi::typed::shape::{Returned, Shape};
use crate::value::Value;

/// Calls the export; `None` when the arguments are told in another way.
pub(in crate::abi::component) async fn call(
    shape: &Shape,
    store: &mut Store<State>,
    function: &Func,
    arguments: &[&Value],
) -> Option<wasmtime::Result<Value>> {
    Some(match (&shape.params[..], arguments) {
        ([], []) => returned(shape.returned, store, function, ()).await,
        ([piece], [one]) => returned(shape.returned, store, function, (Blob::of(one, *piece)?,)).await,
        ([piece, piece_of_other], [one, other]) => {
            let params = (Blob::of(one, *piece)?, Blob::of(other, *piece_of_other)?);
            returned(shape.returned, store, function, params).await
        }
        _ => return None,
    })
}

async fn returned<P: ComponentNamedList + Lower>(
    shape: Returned,
    store: &mut Store<State>,
    function: &Func,
    params: P,
) -> wasmtime::Result<Value> {
    match shape {
        Returned::Nothing => called::<_, ()>(store, function, params).await.map(|()| Value::Null),
        Returned::One(_) => {
            let (it,) = called::<_, (Lifted,)>(store, function, params).await?;
            it.value().await
        }
        Returned::Result(_) => {
            let (outcome,) = called::<_, (Result<Lifted, Lifted>,)>(store, function, params).await?;
            Ok(match outcome {
                Ok(it) => Value::Case("ok".into(), Box::new(it.value().await?)),
                Err(error) => Value::Case("error".into(), Box::new(error.value().await?)),
            })
        }
    }
}

async fn called<P, R>(store: &mut Store<State>, function: &Func, params: P) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    function.typed::<P, R>(&*store)?.call_async(&mut *store, params).await
}
