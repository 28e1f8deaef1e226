//! Imports of a component that the host's handlers answer.

use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};

use super::convert::{given, shown};
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::base::request::ImportCall;

/// First part of the targets of such imports.
const BINDING: &str = "wit";
/// What the names of interfaces begin with that are the host's own, or nobody's.
const WASI: &str = "wasi:";

/// Packages whose interfaces of version 0.2 the linker has, whichever of its minor versions a component asks for.
const OFFERED: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Defines what `component` imports and `linker` lacks: functions by the host's handlers, those of other interfaces of `wasi:` and
/// all resources by what traps.
///
/// # Errors
/// When it imports a module or a component, or an interface has a name that is another's.
pub(super) fn define(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let (engine, ty) = (component.engine(), component.component_type());
    // An interface that has the resource of another has no definition of its own.
    let mut defined: Vec<ResourceType> = Vec::new();
    for (name, import) in ty.imports(engine) {
        match import.ty {
            ComponentItem::ComponentFunc(_) => function(&mut linker.root(), "", name)?,
            ComponentItem::ComponentInstance(instance) => {
                let is_offered = is_offered(name);
                for (within, export) in instance.exports(engine) {
                    match export.ty {
                        ComponentItem::Resource(ty) if !defined.contains(&ty) => {
                            defined.push(ty);
                            if !is_offered {
                                linker.instance(name)?.resource(within, ResourceType::host::<()>(), |_, _| Ok(()))?;
                            }
                        }
                        ComponentItem::ComponentFunc(_) if !is_offered => {
                            let mut interface = linker.instance(name)?;
                            if name.starts_with(WASI) || within.starts_with('[') {
                                nobodys(&mut interface, name, within)?;
                            } else {
                                function(&mut interface, name, within)?;
                            }
                        }
                        _ => {}
                    }
                }
            }
            ComponentItem::Resource(ty) if !defined.contains(&ty) => {
                defined.push(ty);
                linker.root().resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Is it an interface of `wasi:` that the linker has?
fn is_offered(interface: &str) -> bool {
    let Some((package, rest)) = interface.strip_prefix(WASI).and_then(|name| name.split_once('/')) else {
        return false;
    };
    let version = rest.split_once('@').map(|(_name, version)| version);
    OFFERED.contains(&package) && version.is_some_and(|version| version.starts_with("0.2."))
}

/// Defines a function that traps: there is nobody to answer it.
fn nobodys(linker: &mut LinkerInstance<'_, State>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let message = format!("{interface}#{name} is nothing that this host has");
    linker.func_new(name, move |_store, _ty, _params, _results| Err(wasmtime::Error::msg(message.clone())))
}

fn function(linker: &mut LinkerInstance<'_, State>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let target = (interface.to_owned(), name.to_owned());
    linker.func_new_async(name, move |store, ty, params, results| {
        let target = target.clone();
        Box::new(async move { answer(store, target, &ty, params, results).await })
    })
}

/// Suspends the guest until the driver has answered.
async fn answer(
    mut store: StoreContextMut<'_, State>,
    (namespace, operation): (String, String),
    ty: &ComponentFunc,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    // A grant has the package of an interface between its slashes, and the rest behind them.
    let (package, rest) = match namespace.split_once('/') {
        Some((package, interface)) => (package, format!("{interface}/{operation}")),
        None => (&*namespace, operation.clone()),
    };
    let is_granted = store.data().function.host.allow([BINDING, package, &rest].map(str::as_bytes));
    let arguments = ty.params().zip(params).map(|((_name, ty), param)| shown(param, &ty)).collect();
    let asked = ImportCall { binding: BINDING, namespace, operation, arguments };
    let target = asking::target(&asked);
    let value = asking::ask(&mut store, asked, is_granted).await?;
    if let (Some(ty), Some(result)) = (ty.results().next(), results.first_mut()) {
        match given(&value, &ty) {
            Ok(value) => *result = value,
            Err(error) => return Err(asking::unfit(&mut store, &target, &error)),
        }
    }
    Ok(())
}
