//! Imports of a component that the host's handlers answer.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};

use super::bytes;
use super::convert::{Pieces, shown_bytes, val_bytes};
use super::own;
use super::resources::Giving;
use super::target::{BINDING, Target, ask, converted};
use crate::abi::contract::Ask;
use crate::abi::interface::{Kind, hosted};
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::abi::typed::asks::Asks;
use crate::value::Value;

/// What the names of interfaces begin with that are the host's own, or nobody's.
const WASI: &str = "wasi:";

/// Packages whose interfaces of version 0.2 the linker has, whichever of its minor versions a component asks for.
const OFFERED: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];
/// The version that the linker has them in.
const OFFERED_VERSION: &str = "0.2.12";

/// Defines what `component` imports and `linker` lacks: functions and resources by the host's handlers, functions of `wasi:` by what
/// traps. Returns these functions: there may be nobody who answers them.
///
/// # Errors
/// When it imports a module or a component, or an interface has a name that is another's.
pub(super) fn define(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<Vec<Ask>> {
    let mut asks = Asks::default();
    let (engine, ty) = (component.engine(), component.component_type());
    let kinds = hosted(component);
    // An interface that has the resource of another has no definition of its own.
    let number = |name: &str| kinds.iter().find(|kind| &*kind.name == name).and_then(|kind| kind.hosted);
    let within_store = kinds.iter().filter_map(|kind| {
        let ty = ResourceType::host_dynamic(kind.hosted?);
        Some(Kind { name: kind.name.clone(), ty, hosted: kind.hosted })
    });
    let handed: Arc<[Kind]> = within_store.collect();
    for (name, import) in ty.imports(engine) {
        match import.ty {
            ComponentItem::ComponentFunc(function_ty) => {
                let target = Target { interface: "".into(), operation: name.to_owned() };
                function(&mut linker.root(), target, &function_ty, &handed)?;
                asks.push([BINDING, "", name]);
            }
            ComponentItem::ComponentInstance(instance) => {
                let own = own::interface(name);
                if let Some(define) = own {
                    define(&mut linker.instance(name)?)?;
                }
                let there = own.map(|_define| name.to_owned()).or_else(|| offered(name));
                let place = there.as_deref().unwrap_or(name);
                let shared = Arc::from(name);
                for (within, export) in instance.exports(engine) {
                    let mut interface = linker.instance(place)?;
                    let defined = match export.ty {
                        ComponentItem::Resource(_) => number(&format!("{name}#{within}"))
                            .map_or(Ok(()), |number| resource(&mut interface, within, number)),
                        ComponentItem::ComponentFunc(_) if name.starts_with(WASI) => {
                            nobodys(&mut interface, &shared, within)
                        }
                        ComponentItem::ComponentFunc(ref ty) => {
                            let target = Target { interface: Arc::clone(&shared), operation: within.to_owned() };
                            function(&mut interface, target, ty, &handed)
                        }
                        _ => Ok(()),
                    };
                    if defined.is_ok() && matches!(export.ty, ComponentItem::ComponentFunc(_)) {
                        asks.push([BINDING, name, within]);
                    }
                    // What the host has of an interface stays what it is; all else in there is of a later version, or nobody's.
                    if there.is_none() {
                        defined?;
                    }
                }
            }
            ComponentItem::Resource(_) => {
                if let Some(number) = number(name) {
                    resource(&mut linker.root(), name, number)?;
                }
            }
            _ => {}
        }
    }
    Ok(asks.told())
}

/// The name by which the linker has an interface of `wasi:`, if it is of a package that it has.
fn offered(interface: &str) -> Option<String> {
    let (name, version) = interface.split_once('@')?;
    let (package, _name) = name.strip_prefix(WASI)?.split_once('/')?;
    let is_there = OFFERED.contains(&package) && version.starts_with("0.2.");
    is_there.then(|| format!("{name}@{OFFERED_VERSION}"))
}

/// Defines a function that traps: there is nobody to answer it.
fn nobodys(linker: &mut LinkerInstance<'_, State>, interface: &Arc<str>, name: &str) -> wasmtime::Result<()> {
    let (interface, operation) = (Arc::clone(interface), name.to_owned());
    linker.func_new(name, move |_store, _ty, _params, _results| {
        Err(wasmtime::Error::msg(format!("{interface}#{operation} is nothing that this host has")))
    })
}

/// Defines a resource of the host's, which is told when the guest drops one.
fn resource(linker: &mut LinkerInstance<'_, State>, name: &str, number: u32) -> wasmtime::Result<()> {
    linker.resource(name, ResourceType::host_dynamic(number), |mut store, own| {
        if let Some(hosted) = &mut store.data_mut().abi.component.hosted {
            hosted.drop_one(own);
        }
        Ok(())
    })
}

fn function(
    linker: &mut LinkerInstance<'_, State>,
    target: Target,
    ty: &ComponentFunc,
    kinds: &Arc<[Kind]>,
) -> wasmtime::Result<()> {
    if let Some(defined) = bytes::define(linker, &target, ty) {
        return defined;
    }
    let (target, kinds) = (Arc::new(target), Arc::clone(kinds));
    let name = target.operation.clone();
    linker.func_new_async(&name, move |store, ty, params, results| {
        let (target, kinds) = (Arc::clone(&target), Arc::clone(&kinds));
        Box::new(async move { answer(store, &target, &kinds, &ty, params, results).await })
    })
}

/// Suspends the guest until the driver has answered.
async fn answer(
    mut store: StoreContextMut<'_, State>,
    target: &Target,
    kinds: &[Kind],
    ty: &ComponentFunc,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    store.data_mut().abi.component.has_result();
    // As the engine has them, until the guest has the result, and as handlers get them.
    let bytes_by = |bytes: fn(&Val) -> usize| params.iter().map(bytes).fold(0, usize::saturating_add);
    let (mut given, mut share) = (None, None);
    store.data_mut().hold_on_host(&mut given, bytes_by(val_bytes))?;
    store.data_mut().hold_on_host(&mut share, bytes_by(shown_bytes))?;
    let (arguments, fault) = all_shown(&mut store, kinds, ty, params).await;
    if let Some(fault) = fault {
        let message = format!("the arguments of {} can't be passed on: {fault}", target.text());
        return Err(asking::trap(&mut store, message));
    }
    let (value, mut share) = ask(&mut store, target, arguments, share).await?;
    if let (Some(ty), Some(result)) = (ty.results().next(), results.first_mut()) {
        let made = converted(&mut store, kinds, &mut share, &value, &ty).await?;
        *result = made.map_err(|error| asking::unfit(&mut store, &target.text(), &error))?;
    }
    store.data_mut().abi.component.give_result([given, share]);
    Ok(())
}

/// The arguments of an import as handlers see them, and why they can't be handed on, if they can't.
async fn all_shown(
    store: &mut StoreContextMut<'_, State>,
    kinds: &[Kind],
    ty: &ComponentFunc,
    params: &[Val],
) -> (Vec<Value>, Option<String>) {
    let mut giving = Giving::new(store, kinds);
    let (mut pieces, mut arguments) = (Pieces::new(&mut giving), Vec::with_capacity(params.len()));
    for ((_name, ty), param) in ty.params().zip(params) {
        arguments.push(pieces.shown(param, &ty).await);
    }
    let over = pieces.tally.over();
    (arguments, giving.fault.or(over.map(|much| much.to_string())))
}
