//! Functions that a plug-in's application answers: the imports that are neither Extism's nor WASI's.

use std::sync::Arc;

use wasmtime::{AsContextMut, Caller, FuncType, Linker, StoreContextMut, Val, ValType};

use super::env::{block, bytes, unsigned};
use super::kernel::{self, kernel};
use super::shared::MODULE;
use crate::abi::contract::Open;
use crate::abi::outgoing::asked::{self, Answered};
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::abi::wasi::imports::is_wasi;
use crate::base::request::{HostCall, HostRequest, ImportCall, ShortName};
use crate::store::host_share::HostShare;
use crate::store::resting::begin_slice;
use crate::value::Value;
use crate::value::numbers::{is_number, number, value};

/// First part of the targets of such imports.
const BINDING: &str = "extism";
/// How they are defined.
pub(super) const OPEN: Open = Open { binding: BINDING, define };
/// What Extism's runtime says of an offset at which no block begins.
const NO_BLOCK: &str = "invalid memory offset";

/// Defines an import of this type; `false` when it takes or returns something else than numbers, or several, or is of a module that
/// has all its functions already.
fn define(linker: &mut Linker<State>, module: &str, name: &str, ty: &FuncType) -> wasmtime::Result<bool> {
    let is_ours = module == MODULE || is_wasi(module);
    if is_ours || ty.results().len() > 1 || !ty.params().chain(ty.results()).all(|ty| is_number(&ty)) {
        return Ok(false);
    }
    let target = (module.to_owned(), name.to_owned());
    let result = ty.results().next();
    linker.func_new_async(module, name, ty.clone(), move |caller, params, returned| {
        let (target, result) = (target.clone(), result.clone());
        Box::new(async move { answer(caller, target, params, result.as_ref(), returned).await })
    })?;
    Ok(true)
}

/// Suspends the plug-in until the driver has answered.
async fn answer(
    mut caller: Caller<'_, State>,
    (namespace, operation): (String, String),
    params: &[Val],
    result: Option<&ValType>,
    returned: &mut [Val],
) -> wasmtime::Result<()> {
    kernel(&mut caller)?;
    let mut store = caller.as_context_mut();
    let is_granted = store.data().function.host.allow_import([BINDING, &namespace, &operation]);
    let target = format!("{BINDING}/{namespace}/{operation}");
    let allowed = store.data().function.limits.reply_bytes;
    let mut given = Vec::with_capacity(params.len());
    let mut left = allowed;
    for param in params {
        let Val::I64(offset) = param else {
            given.push(value(param));
            continue;
        };
        let block = block(&mut store, unsigned(*offset), NO_BLOCK)?;
        let length = block.map_or(0, |block| u64::from(block.length));
        let Some(rest) = left.checked_sub(length) else {
            let message = format!("what {target} is given has more bytes than the {allowed} allowed");
            return Err(asking::trap(&mut store, message));
        };
        left = rest;
        given.push(Value::Bytes(bytes(&mut store, block, u64::MAX).await?.into()));
    }
    let takes_bytes = matches!(given.as_slice(), [] | [Value::Bytes(_)]) && matches!(result, None | Some(ValType::I64));
    let (answer, _share) = if takes_bytes {
        let payload = match given.pop() {
            Some(Value::Bytes(bytes)) => bytes.into(),
            _ => Vec::new(),
        };
        let asked = HostCall {
            binding: ShortName::from_slice(BINDING.as_bytes()),
            namespace: ShortName::from_slice(namespace.as_bytes()),
            operation: ShortName::from_slice(operation.as_bytes()),
            payload,
        };
        let (bytes, share) = ask(&mut store, asked, is_granted, &target).await?;
        (Arc::new(bytes), share)
    } else {
        let asked = ImportCall { binding: BINDING, namespace, operation, arguments: given };
        asking::ask(&mut store, asked, is_granted, None).await?
    };
    let (Some(ty), Some(returned)) = (result, returned.first_mut()) else { return Ok(()) };
    *returned = match (&*answer, ty) {
        (Value::Bytes(bytes), ValType::I64) => {
            let allowed = store.data().function.limits.payload_bytes;
            if bytes.len() as u64 > allowed {
                let message =
                    format!("the answer of {target} has {} bytes, more than the {allowed} allowed", bytes.len());
                return Err(asking::trap(&mut store, message));
            }
            Val::I64(kernel::holding(&mut store, bytes).await??.cast_signed())
        }
        (Value::Null, ValType::I64) => Val::I64(0),
        (_other, ValType::I64) => return Err(asking::unfit(&mut store, &target, &"it has to be bytes, or nothing")),
        (answer, ty) => number(answer, ty).map_err(|fault| asking::unfit(&mut store, &target, &fault))?,
    };
    Ok(())
}

/// What is answered to bytes.
async fn ask(
    store: &mut StoreContextMut<'_, State>,
    asked: HostCall,
    is_granted: bool,
    target: &str,
) -> wasmtime::Result<(Value, Option<HostShare>)> {
    let call = asking::may_ask(store, target, is_granted)?;
    let Answered { reply, share } = asked::ask(store, &call, HostRequest::Wapc(asked), None).await?;
    begin_slice(&mut *store);
    match reply {
        Ok(bytes) => Ok((Value::Bytes(bytes), share)),
        Err(text) => Err(asking::trap(store, String::from_utf8_lossy(&text).into_owned())),
    }
}
