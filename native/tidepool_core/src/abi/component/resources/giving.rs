//! From handles to resources, and back.

use std::collections::HashMap;

use wasmtime::component::{ResourceAny, ResourceDynamic, ResourceType, Val};
use wasmtime::{AsContextMut, Store, StoreContextMut};

use super::kept::{Held, not_hosts, too_many};
use crate::abi::component::convert::Resources;
use crate::abi::interface::Kind;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::slice::yielding::yielded;
use crate::store::failure::call_error;
use crate::store::host_share::HostShare;
use crate::value::{Handle, Value};

/// Resources in the arguments of one call, and in its result: each takes a microsecond or two to become a term.
const MAX_PASSED: usize = 4_096;
/// Drops after which others may run: some 50 µs, and what the destructors take.
const PIECE: usize = 64;

/// Drops the resource of a handle: its destructor runs, in the guest.
///
/// # Errors
/// [`CallError::Arguments`] when it is none of the instance's, and what stops the destructor.
pub(in crate::abi::component) async fn drop_one(store: &mut Store<State>, value: &Value) -> Result<(), CallError> {
    let wrong = |message| CallError::Arguments { path: "1".into(), message: format!("argument 1: {message}") };
    let Value::Handle(handle) = value else {
        return Err(wrong(format!("it has to be a resource, and is {}", value.kind())));
    };
    let Some(held) = &mut store.data_mut().abi.component.held else {
        return Err(wrong("no caller has a resource of this instance".into()));
    };
    let (index, _kind, resource) = held.find(handle).map_err(wrong)?;
    held.remove(index);
    drop_now(store, resource).await
}

/// Drops resources whose handles nobody has any more.
///
/// # Errors
/// What stops a destructor.
pub(in crate::abi::component) async fn drop_released(store: &mut Store<State>) -> Result<(), CallError> {
    let Some(held) = &mut store.data_mut().abi.component.held else { return Ok(()) };
    let released: Vec<u64> = held.take_released();
    for (turn, index) in released.into_iter().enumerate() {
        if turn % PIECE == PIECE - 1 {
            yielded().await;
        }
        let held = store.data_mut().abi.component.held.as_mut();
        if let Some(resource) = held.and_then(|held| held.remove(index)) {
            drop_now(store, resource).await?;
        }
    }
    Ok(())
}

async fn drop_now(store: &mut Store<State>, resource: ResourceAny) -> Result<(), CallError> {
    let dropped = resource.resource_drop_async(&mut *store).await;
    dropped.map_err(|error| call_error(store, &error))
}

/// What is a type of the host's for its handles: the same in all versions of its interface.
fn label(name: &str) -> String {
    match name.split_once('#') {
        Some((interface, resource)) => {
            let interface = interface.split_once('@').map_or(interface, |(interface, _version)| interface);
            format!("{interface}#{resource}")
        }
        None => name.to_owned(),
    }
}

/// Says whether resources can be given, and gives none: of a call whose arguments don't fit nothing is taken.
pub(in crate::abi::component) struct Checking<'a> {
    /// The resources of the instance of which callers have handles.
    pub(in crate::abi::component) held: Option<&'a Held>,
    pub(in crate::abi::component) kinds: &'a [Kind],
    /// How many more of the host's the guest may have.
    pub(in crate::abi::component) room: usize,
    /// The handles so far, and whether they are given away.
    pub(in crate::abi::component) seen: HashMap<usize, bool>,
    /// How many there were, each time counted.
    pub(in crate::abi::component) count: usize,
}

impl Resources for Checking<'_> {
    fn give(&mut self, handle: &Handle, ty: &ResourceType, owned: bool) -> Result<Val, String> {
        self.count += 1;
        if self.count > MAX_PASSED {
            return Err(format!("a call has no more than {MAX_PASSED} resources"));
        }
        let Some((place, kind)) = find(self.kinds, ty) else { return Err("no caller has one of this type".into()) };
        match kind.hosted {
            Some(_) => {
                let label = label(&kind.name);
                handle.as_host().ok_or_else(|| not_hosts(&label))?.suits(&label)?;
            }
            None => {
                let (_index, own, _resource) =
                    self.held.ok_or("no caller has a resource of this instance")?.find(handle)?;
                if own != place {
                    let own = handle.name().unwrap_or_else(|| "".into());
                    return Err(format!("it has to be a {}, and is a {own}", kind.name));
                }
            }
        }
        // What is lent may be lent twice.
        match self.seen.insert(handle.address(), owned) {
            Some(before) if owned || before => Err("it is a resource that is given away in the same call".into()),
            None if kind.hosted.is_some() => {
                self.room = self.room.checked_sub(1).ok_or_else(too_many)?;
                Ok(Val::Bool(owned))
            }
            _ => Ok(Val::Bool(owned)),
        }
    }

    fn show(&mut self, _resource: ResourceAny, _ty: &ResourceType) -> Value {
        Value::Null
    }
}

/// Gives the resources that handles are of, and makes handles of others.
pub(in crate::abi::component) struct Giving<'a, 'b> {
    pub(in crate::abi::component) store: &'a mut StoreContextMut<'b, State>,
    pub(in crate::abi::component) kinds: &'a [Kind],
    /// Why one could not be shown.
    pub(in crate::abi::component) fault: Option<String>,
    /// Of the host's, those that are lent: the addresses of their handles, and what they are in the store.
    pub(in crate::abi::component) lent: HashMap<usize, ResourceAny>,
    /// What was given away: of the guest's, with their numbers and kinds, and of the host's.
    own: Vec<(u64, ResourceAny)>,
    hosts: Vec<ResourceAny>,
    /// How many were shown.
    shown: usize,
    /// What is made is counted in it, where there is one.
    share: Option<&'a mut Option<HostShare>>,
}

impl<'a, 'b> Giving<'a, 'b> {
    pub(in crate::abi::component) fn new(store: &'a mut StoreContextMut<'b, State>, kinds: &'a [Kind]) -> Self {
        let (lent, own, hosts) = (HashMap::new(), Vec::new(), Vec::new());
        Giving { store, kinds, fault: None, lent, own, hosts, shown: 0, share: None }
    }

    /// The same of a conversion that ends when there is no room in a share for what it has made.
    pub(in crate::abi::component) fn counted(
        store: &'a mut StoreContextMut<'b, State>,
        kinds: &'a [Kind],
        share: &'a mut Option<HostShare>,
    ) -> Self {
        Giving { share: Some(share), ..Giving::new(store, kinds) }
    }

    /// Takes back all that was given and lent: the guest is not called.
    pub(in crate::abi::component) fn take_back(self) {
        for resource in self.lent.into_values().chain(self.hosts) {
            take_one(self.store, resource);
        }
        if let Some(held) = &mut self.store.data_mut().abi.component.held {
            for (index, resource) in self.own {
                held.put_back(index, resource);
            }
        }
    }
}

/// Takes back what was lent for a call.
pub(in crate::abi::component) fn take_lent(store: &mut Store<State>, lent: HashMap<usize, ResourceAny>) {
    for resource in lent.into_values() {
        take_one(&mut store.as_context_mut(), resource);
    }
}

fn take_one(store: &mut StoreContextMut<'_, State>, resource: ResourceAny) {
    // Nobody else has taken it.
    let Ok(own) = resource.try_into_resource_dynamic(store.as_context_mut()) else { return };
    if let Some(hosted) = &mut store.data_mut().abi.component.hosted {
        hosted.take_lent(own.rep());
    }
}

impl Resources for Giving<'_, '_> {
    fn give(&mut self, handle: &Handle, ty: &ResourceType, owned: bool) -> Result<Val, String> {
        let Some((_place, kind)) = find(self.kinds, ty) else { return Err("the host has none of this type".into()) };
        let slot = &mut self.store.data_mut().abi.component;
        let Some(number) = kind.hosted else {
            let held = slot.held.as_deref_mut().ok_or("no caller has a resource of this instance")?;
            let (index, _kind, resource) = held.find(handle)?;
            if owned {
                held.remove(index);
                self.own.push((index, resource));
            }
            return Ok(Val::Resource(resource));
        };
        if let Some(resource) = self.lent.get(&handle.address()).filter(|_resource| !owned) {
            return Ok(Val::Resource(*resource));
        }
        let (hosted, label) = (slot.hosted.get_or_insert_default(), label(&kind.name));
        let own = if owned { hosted.give(handle, &label) } else { hosted.lend(handle, &label) }?;
        let resource = ResourceDynamic::new_own(own, number).try_into_resource_any(self.store.as_context_mut());
        let resource = resource.map_err(|error| format!("{error:#}"))?;
        if owned {
            self.hosts.push(resource);
        } else {
            self.lent.insert(handle.address(), resource);
        }
        Ok(Val::Resource(resource))
    }

    fn show(&mut self, resource: ResourceAny, ty: &ResourceType) -> Value {
        self.shown += 1;
        if self.shown > MAX_PASSED {
            self.fault = Some(format!("it has more than {MAX_PASSED} resources"));
            return Value::Null;
        }
        let Some((place, kind)) = find(self.kinds, ty) else {
            self.fault = Some("it has a resource that the host has no handle for".into());
            return Value::Null;
        };
        if kind.hosted.is_none() {
            // Only an instance that is kept is called for one.
            let held = self.store.data_mut().abi.component.held.get_or_insert_default();
            return Value::Handle(held.add(resource, place, &kind.name));
        }
        let owned = resource.owned();
        let found = match resource.try_into_resource_dynamic(self.store.as_context_mut()) {
            Ok(resource) => {
                let hosted = self.store.data_mut().abi.component.hosted.as_mut();
                hosted.and_then(|hosted| hosted.show(resource.rep(), owned))
            }
            Err(_) => None,
        };
        if found.is_none() {
            self.fault = Some(format!("it has a {} that is not the host's", kind.name));
        }
        found.map_or(Value::Null, Value::Handle)
    }

    fn hold(&mut self, bytes: usize) -> bool {
        let Some(share) = self.share.as_deref_mut() else { return true };
        self.store.data().has_on_host(share, bytes)
    }
}

fn find<'a>(kinds: &'a [Kind], ty: &ResourceType) -> Option<(usize, &'a Kind)> {
    kinds.iter().enumerate().find(|(_place, kind)| kind.ty == *ty)
}
