//! Imports whose parameters and result are bytes and texts, and which the host's handlers answer.

use bytes::Bytes;
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{ComponentNamedList, Lift, LinkerInstance, Lower, Type, Val};

use super::blob::{Blob, Lifted};
use crate::abi::component::convert::{Nothing, Pieces, Unfit, case};
use crate::abi::component::target::{Target, ask};
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::abi::typed::shape::{Piece, Returned, Shape};
use crate::slice::yielding::yielded;
use crate::value::Value;

/// A longer argument is handed on in a slice of its own.
const SLICE_BYTES: usize = 1 << 20;

/// What such a function returns, which outlives the answer.
type Owned = Blob<Bytes, String>;

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
#[derive(Clone)]
struct Asked {
    target: Target,
    returned: Returned,
    result: Option<Type>,
}

fn with_params<P: Params>(linker: &mut LinkerInstance<'_, State>, asked: Asked) -> wasmtime::Result<()> {
    match asked.returned {
        Returned::Nothing => with_both::<P, ()>(linker, asked),
        Returned::One(_) => with_both::<P, (Owned,)>(linker, asked),
        Returned::Result(_) => with_both::<P, (Result<Owned, String>,)>(linker, asked),
    }
}

fn with_both<P: Params, R: Returns>(linker: &mut LinkerInstance<'_, State>, asked: Asked) -> wasmtime::Result<()> {
    let name = asked.target.operation.clone();
    linker.func_wrap_async(&name, move |mut store, params: P| {
        let Asked { target, returned, result } = asked.clone();
        Box::new(async move {
            let arguments = params.values();
            if arguments.iter().any(|argument| argument.size() > SLICE_BYTES) {
                yielded().await;
            }
            let told = target.text();
            let (value, _share) = ask(&mut store, target, arguments).await?;
            if let Some(made) = R::quick(&value, returned) {
                return Ok(made);
            }
            let made = slow::<R>(&value, result.as_ref()).await;
            made.map_err(|error| asking::unfit(&mut store, &told, &error))
        })
    })
}

/// The result of a value that is told in another way, such as a list of numbers.
async fn slow<R: Returns>(value: &Value, ty: Option<&Type>) -> Result<R, Unfit> {
    let made = match ty {
        Some(ty) => Pieces::new(&mut Nothing).given(value, ty).await?,
        None => Val::Bool(false),
    };
    R::slow(made).ok_or_else(|| Unfit::new("it is none of its type".into()))
}

/// What a guest gives.
trait Params: ComponentNamedList + Lift + Send + 'static {
    fn values(self) -> Vec<Value>;
}

impl Params for () {
    fn values(self) -> Vec<Value> {
        Vec::new()
    }
}

impl Params for (Lifted,) {
    fn values(self) -> Vec<Value> {
        vec![self.0.0]
    }
}

impl Params for (Lifted, Lifted) {
    fn values(self) -> Vec<Value> {
        vec![self.0.0, self.1.0]
    }
}

/// What a guest gets.
trait Returns: Sized + ComponentNamedList + Lower + Send + 'static {
    /// It of an answer as it is; `None` when that is told in another way.
    fn quick(value: &Value, returned: Returned) -> Option<Self>;

    /// It of a value of its type.
    fn slow(val: Val) -> Option<Self>;
}

impl Returns for () {
    fn quick(_value: &Value, _returned: Returned) -> Option<Self> {
        Some(())
    }

    fn slow(_val: Val) -> Option<Self> {
        Some(())
    }
}

impl Returns for (Owned,) {
    fn quick(value: &Value, returned: Returned) -> Option<Self> {
        let Returned::One(piece) = returned else { return None };
        Some((owned(value, piece)?,))
    }

    fn slow(val: Val) -> Option<Self> {
        Some((of_val(val)?,))
    }
}

impl Returns for (Result<Owned, String>,) {
    fn quick(value: &Value, returned: Returned) -> Option<Self> {
        let (Returned::Result(piece), (name, Some(within))) = (returned, case(value)?) else { return None };
        match &*name {
            "ok" => Some((Ok(owned(within, piece)?),)),
            "error" => Some((Err(text_of(owned(within, Piece::Text)?)?),)),
            _ => None,
        }
    }

    fn slow(val: Val) -> Option<Self> {
        match val {
            Val::Result(Ok(Some(val))) => Some((Ok(of_val(*val)?),)),
            Val::Result(Err(Some(val))) => Some((Err(text_of(of_val(*val)?)?),)),
            _ => None,
        }
    }
}

/// A value as what is returned; `None` when it is told in another way.
fn owned(value: &Value, piece: Piece) -> Option<Owned> {
    match Blob::of(value, piece)? {
        Blob::Bytes(_) => value.as_bytes().cloned().map(Blob::Bytes),
        Blob::Text(text) => Some(Blob::Text(text.to_owned())),
    }
}

fn of_val(val: Val) -> Option<Owned> {
    match val {
        Val::String(text) => Some(Blob::Text(text)),
        Val::List(bytes) => {
            let byte = |val| if let Val::U8(byte) = val { Some(byte) } else { None };
            bytes.into_iter().map(byte).collect::<Option<Bytes>>().map(Blob::Bytes)
        }
        _ => None,
    }
}

fn text_of(blob: Owned) -> Option<String> {
    if let Blob::Text(text) = blob { Some(text) } else { None }
}
