//! Imports of a plain module that the host's handlers answer.

use wasmtime::{AsContextMut, Caller, FuncType, Linker, Val, ValType};

use super::arguments::numbers;
use crate::abi::contract::Open;
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::abi::wasi::imports::is_wasi;
use crate::base::request::ImportCall;
use crate::value::Value;
use crate::value::numbers::{is_number, value};

/// First part of the targets of such imports.
const BINDING: &str = "import";
/// How they are defined.
pub(super) const OPEN: Open = Open { binding: BINDING, define };

/// Defines an import of this type; `false` when it has parameters or results that are no numbers, or is WASI's by its name: what
/// there is of that is defined already.
fn define(linker: &mut Linker<State>, module: &str, name: &str, ty: &FuncType) -> wasmtime::Result<bool> {
    if is_wasi(module) || !ty.params().chain(ty.results()).all(|ty| is_number(&ty)) {
        return Ok(false);
    }
    let results: Vec<ValType> = ty.results().collect();
    let target = (module.to_owned(), name.to_owned());
    linker.func_new_async(module, name, ty.clone(), move |caller, params, returned| {
        let asked = ImportCall {
            binding: BINDING,
            namespace: target.0.clone(),
            operation: target.1.clone(),
            arguments: params.iter().map(value).collect(),
        };
        let results = results.clone();
        Box::new(async move { answer(caller, asked, &results, returned).await })
    })?;
    Ok(true)
}

/// What the host answers, as the results of the import.
async fn answer(
    mut caller: Caller<'_, State>,
    asked: ImportCall,
    types: &[ValType],
    returned: &mut [Val],
) -> wasmtime::Result<()> {
    let mut store = caller.as_context_mut();
    let is_granted = store.data().function.host.allow_import([BINDING, &asked.namespace, &asked.operation]);
    let target = asking::target(&asked);
    let (answer, _share) = asking::ask(&mut store, asked, is_granted, None).await?;
    let values = match (&*answer, types.len()) {
        (Value::List(values) | Value::Tuple(values), several) if several != 1 && values.len() == several => values,
        (value, 1) => std::slice::from_ref(value),
        (_, 0) => &[],
        (_, several) => {
            return Err(asking::trap(
                &mut store,
                format!("{target} has to be answered with a list of {several} numbers"),
            ));
        }
    };
    match numbers(values, types.iter().cloned()) {
        Ok(numbers) => {
            returned.iter_mut().zip(numbers).for_each(|(returned, number)| *returned = number);
            Ok(())
        }
        Err(error) => Err(asking::unfit(&mut store, &target, &error)),
    }
}
