//! Imports whose parameters and result are bytes and texts, and which the host's handlers answer.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{ComponentNamedList, Lift, LinkerInstance, Lower, Type, Val};

use super::blob::{Blob, Lifted};
use crate::abi::component::convert::{Unfit, case};
use crate::abi::component::counted::Counted;
use crate::abi::component::target::{Target, ask, converted};
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::abi::typed::shape::{Piece, Returned, Shape};
use crate::store::host_share::HostShare;
use crate::value::Value;

/// What such a function returns.
type Owned = Counted<Blob<Bytes, String>>;

/// Defines a function if it is one of these; `None` if it is not.
pub(in crate::abi::component) fn define(
    linker: &mut LinkerInstance<'_, State>,
    target: &Target,
    ty: &ComponentFunc,
) -> Option<wasmtime::Result<()>> {
    let (params, result): (Vec<Type>, _) = (ty.params().map(|(_name, ty)| ty).collect(), ty.results().next());
    let shape = Shape::of(params.iter(), result.as_ref())?;
    let asked = Asked { target: target.clone(), returned: shape.returned, result };
    Some(match shape.params.len() {
        0 => with_params::<()>(linker, asked),
        1 => with_params::<(Lifted,)>(linker, asked),
        _ => with_params::<(Lifted, Lifted)>(linker, asked),
    })
}

/// A function, and what it returns.
struct Asked {
    target: Target,
    returned: Returned,
    result: Option<Type>,
}

fn with_params<P: Params>(linker: &mut LinkerInstance<'_, State>, asked: Asked) -> wasmtime::Result<()> {
    match asked.returned {
        Returned::Nothing => with_both::<P, ()>(linker, asked),
        Returned::One(_) => with_both::<P, (Owned,)>(linker, asked),
        Returned::Result(_) => with_both::<P, (Result<Owned, Owned>,)>(linker, asked),
    }
}

fn with_both<P: Params, R: Returns>(linker: &mut LinkerInstance<'_, State>, asked: Asked) -> wasmtime::Result<()> {
    let (name, asked) = (asked.target.operation.clone(), Arc::new(asked));
    linker.func_wrap_async(&name, move |mut store, params: P| {
        let asked = Arc::clone(&asked);
        Box::new(async move {
            let Asked { target, returned, result } = &*asked;
            let arguments = Lifted::values(params.lifted(), &mut store).await?;
            let (value, mut share) = ask(&mut store, target, arguments, None).await?;
            if let Some(made) = R::quick(&value, *returned, &mut share) {
                return Ok(made);
            }
            // It is told in another way, such as a list of numbers.
            let made = match result {
                Some(ty) => converted(&mut store, &[], &mut share, &value, ty).await?,
                None => Ok(Val::Bool(false)),
            };
            let none = || Unfit::new("it is none of its type".into());
            let made = made.and_then(|made| R::slow(made, &mut share).ok_or_else(none));
            made.map_err(|error| asking::unfit(&mut store, &target.text(), &error))
        })
    })
}

/// What a guest gives.
trait Params: ComponentNamedList + Lift + Send + 'static {
    fn lifted(self) -> Vec<Lifted>;
}

impl Params for () {
    fn lifted(self) -> Vec<Lifted> {
        Vec::new()
    }
}

impl Params for (Lifted,) {
    fn lifted(self) -> Vec<Lifted> {
        vec![self.0]
    }
}

impl Params for (Lifted, Lifted) {
    fn lifted(self) -> Vec<Lifted> {
        vec![self.0, self.1]
    }
}

/// What a guest gets.
trait Returns: Sized + ComponentNamedList + Lower + Send + 'static {
    /// It of an answer as it is; `None` when that is told in another way.
    fn quick(value: &Value, returned: Returned, share: &mut Option<HostShare>) -> Option<Self>;

    /// It of a value of its type.
    fn slow(val: Val, share: &mut Option<HostShare>) -> Option<Self>;
}

impl Returns for () {
    fn quick(_value: &Value, _returned: Returned, _share: &mut Option<HostShare>) -> Option<Self> {
        Some(())
    }

    fn slow(_val: Val, _share: &mut Option<HostShare>) -> Option<Self> {
        Some(())
    }
}

impl Returns for (Owned,) {
    fn quick(value: &Value, returned: Returned, share: &mut Option<HostShare>) -> Option<Self> {
        let Returned::One(piece) = returned else { return None };
        Some((owned(value, piece, share)?,))
    }

    fn slow(val: Val, share: &mut Option<HostShare>) -> Option<Self> {
        Some((of_val(val, share)?,))
    }
}

impl Returns for (Result<Owned, Owned>,) {
    fn quick(value: &Value, returned: Returned, share: &mut Option<HostShare>) -> Option<Self> {
        let (Returned::Result(piece), (name, Some(within))) = (returned, case(value)?) else { return None };
        match &*name {
            "ok" => Some((Ok(owned(within, piece, share)?),)),
            "error" => Some((Err(owned(within, Piece::Text, share)?),)),
            _ => None,
        }
    }

    fn slow(val: Val, share: &mut Option<HostShare>) -> Option<Self> {
        match val {
            Val::Result(Ok(Some(val))) => Some((Ok(of_val(*val, share)?),)),
            Val::Result(Err(Some(val))) => Some((Err(of_val(*val, share)?),)),
            _ => None,
        }
    }
}

/// A value as what is returned; `None` when it is told in another way.
fn owned(value: &Value, piece: Piece, share: &mut Option<HostShare>) -> Option<Owned> {
    let blob = match Blob::of(value, piece)? {
        Blob::Bytes(_) => Blob::Bytes(value.as_bytes()?.clone()),
        Blob::Text(text) => Blob::Text(text.to_owned()),
    };
    Some(Counted::new(blob, share.take()))
}

fn of_val(val: Val, share: &mut Option<HostShare>) -> Option<Owned> {
    let blob = match val {
        Val::String(text) => Blob::Text(text),
        Val::List(bytes) => {
            let byte = |val| if let Val::U8(byte) = val { Some(byte) } else { None };
            Blob::Bytes(bytes.into_iter().map(byte).collect::<Option<Bytes>>()?)
        }
        _ => return None,
    };
    Some(Counted::new(blob, share.take()))
}
