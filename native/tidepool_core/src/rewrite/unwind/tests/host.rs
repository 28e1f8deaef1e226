//! A host whose guests wait, and are moved to another instance at some waits.

use std::sync::Arc;

use wasmtime::{
    AsContextMut, Caller, Engine, Extern, Func, Global, Instance, Linker, Module, Ref, Store, Trap, Val, WasmBacktrace,
};

use super::random::Random;
use crate::rewrite::unwind::{GROUP, PEEK, POP, PUSH, TABLE, UNWINDING, Unwound};

/// What the host has of a guest, wherever that is.
pub(super) struct Host {
    random: Random,
    /// What the guest is, if it can be moved.
    unwound: Option<Arc<Unwound>>,
    /// One wait of so many is a move; none, if it is 0.
    one_of: usize,
    frames: Vec<[i64; GROUP]>,
    /// What the wait was called with that the guest was moved at, until it is called again.
    parked: Option<(&'static str, Vec<u128>)>,
    /// What has been waited for, and noted.
    pub(super) told: Vec<(&'static str, Vec<u128>)>,
    pub(super) moves: usize,
    /// Functions that were on the stack of a wait at which the guest could not be moved.
    pub(super) held: Vec<u32>,
}

/// What a run has come to.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) results: Result<Vec<u128>, Trap>,
    pub(super) memory: Vec<u8>,
    pub(super) globals: Vec<u128>,
    pub(super) told: Vec<(&'static str, Vec<u128>)>,
}

impl Host {
    pub(super) fn new(seed: u64, one_of: usize) -> Self {
        let random = Random(seed);
        Host {
            random,
            unwound: None,
            one_of,
            frames: Vec::new(),
            parked: None,
            told: Vec::new(),
            moves: 0,
            held: Vec::new(),
        }
    }

    /// The host of this guest.
    pub(super) fn of(mut self, unwound: &Arc<Unwound>) -> Self {
        self.unwound = Some(Arc::clone(unwound));
        self
    }

    /// Does the guest rewind?
    fn rewinds(&self) -> bool {
        self.parked.is_some()
    }
}

/// A value as bits.
fn bits(value: &Val) -> u128 {
    match value {
        Val::I32(value) => u128::from(value.cast_unsigned()),
        Val::I64(value) => u128::from(value.cast_unsigned()),
        Val::F32(bits) => u128::from(*bits),
        Val::F64(bits) => u128::from(*bits),
        Val::V128(value) => value.as_u128(),
        _ => unreachable!("no references"),
    }
}

fn unwinding(mut store: impl AsContextMut, export: Option<Extern>) -> Option<i32> {
    export.and_then(Extern::into_global).and_then(|global: Global| global.get(&mut store).i32())
}

/// An import that waits: it has the guest unwind, or returns what follows from what it was called with, and how often.
fn wait(mut caller: Caller<'_, Host>, name: &'static str, params: &[Val], results: &mut [Val]) -> wasmtime::Result<()> {
    let export = caller.get_export(UNWINDING);
    assert_ne!(unwinding(&mut caller, export.clone()), Some(1), "what unwinds calls nothing");
    let called = (name, params.iter().map(bits).collect::<Vec<_>>());
    let host = caller.data_mut();
    match host.parked.take() {
        Some(parked) => assert_eq!(parked, called, "it is called again as it was"),
        None if host.one_of > 0 && host.random.below(host.one_of) == 0 => match held(&caller) {
            None => {
                let host = caller.data_mut();
                host.parked = Some(called);
                host.moves += 1;
                let global = export.and_then(Extern::into_global).unwrap();
                return global.set(&mut caller, Val::I32(1));
            }
            Some(function) => caller.data_mut().held.push(function),
        },
        None => {}
    }
    let host = caller.data_mut();
    assert!(host.frames.is_empty(), "all frames are entered");
    let count = host.told.len() as u64;
    let mut random = Random(called.1.iter().fold(count, |sum, it| sum.wrapping_mul(31).wrapping_add(*it as u64)));
    host.told.push(called);
    for result in results {
        let number = random.next();
        *result = match result {
            Val::I32(_) => Val::I32(number as i32),
            Val::I64(_) => Val::I64(number as i64),
            Val::F32(_) => Val::F32(f32::from(number as u8).to_bits()),
            Val::F64(_) => Val::F64(f64::from(number as u8).to_bits()),
            _ => Val::V128(u128::from(number).into()),
        };
    }
    Ok(())
}

/// The function on the guest's stack that can't be left, if there is one.
fn held(caller: &Caller<'_, Host>) -> Option<u32> {
    let stack = WasmBacktrace::force_capture(caller);
    caller.data().unwound.as_ref()?.bodies.frames(stack.frames().iter().map(|frame| frame.func_index())).err()
}

/// An import that calls the guest, which may wait in there.
fn nest(mut caller: Caller<'_, Host>, argument: i32) -> wasmtime::Result<i32> {
    let mut results = [Val::I32(0)];
    if caller.data().rewinds() {
        let slot = top(&caller)?;
        let table = caller.get_export(TABLE).and_then(Extern::into_table).unwrap();
        let second = table.get(&mut caller, u64::from(slot)).unwrap().unwrap_func().copied().unwrap();
        second.call(&mut caller, &[], &mut results)?;
    } else {
        let nested = caller.get_export("nested").and_then(Extern::into_func).unwrap();
        nested.call(&mut caller, &[Val::I32(argument)], &mut results)?;
    }
    Ok(results[0].unwrap_i32())
}

fn top(caller: &Caller<'_, Host>) -> wasmtime::Result<u32> {
    let top = caller.data().frames.last().ok_or_else(|| wasmtime::Error::msg("there is no frame"))?;
    Ok((top[GROUP - 1] >> 32) as u32)
}

/// An import that does not wait, and tells what it was called with.
fn note(mut caller: Caller<'_, Host>, params: &[Val], results: &mut [Val]) -> wasmtime::Result<()> {
    assert!(!caller.data().rewinds(), "what does not wait is not called again");
    caller.data_mut().told.push(("note", params.iter().map(bits).collect()));
    results[0] = Val::F64(f64::from(params[0].unwrap_i32()).to_bits());
    Ok(())
}

const NAMES: [&str; 6] = ["wait", "wait_two", "wait_vector", "wait_nothing", "note", "nest"];

/// Links what generated modules import.
pub(super) fn linker(engine: &Engine, module: &Module) -> Linker<Host> {
    let mut linker = Linker::new(engine);
    for import in module.imports() {
        let name = NAMES.into_iter().find(|name| *name == import.name()).unwrap();
        let ty = import.ty().unwrap_func().clone();
        match name {
            "nest" => linker.func_wrap("host", name, nest),
            "note" => linker.func_new("host", name, ty, note),
            _ => linker.func_new("host", name, ty.clone(), move |caller, params, results| {
                results.iter_mut().zip(ty.results()).for_each(|(it, ty)| *it = Val::default_for_ty(&ty).unwrap());
                wait(caller, name, params, results)
            }),
        }
        .unwrap();
    }
    linker
}

/// Puts the functions into the instance's table that its frames go through.
fn give(store: &mut Store<Host>, instance: Instance) {
    let push = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, a: i64, b: i64, c: i64, d: i64| {
        caller.data_mut().frames.push([a, b, c, d]);
    });
    let pop = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>| -> wasmtime::Result<(i64, i64, i64, i64)> {
        let [a, b, c, d] = caller.data_mut().frames.pop().ok_or_else(|| wasmtime::Error::msg("there is no frame"))?;
        Ok((a, b, c, d))
    });
    let peek = Func::wrap(&mut *store, |caller: Caller<'_, Host>| top(&caller).map(|slot| slot as i32));
    let table = instance.get_table(&mut *store, TABLE).unwrap();
    for (slot, function) in [(PUSH, push), (POP, pop), (PEEK, peek)] {
        table.set(&mut *store, u64::from(slot), Ref::Func(Some(function))).unwrap();
    }
}

/// Runs a module to its end, in as many instances as that takes.
pub(super) fn run(module: &Module, host: Host) -> (Outcome, Host) {
    let linker = linker(module.engine(), module);
    let mut store = Store::new(module.engine(), host);
    let mut instance = linker.instantiate(&mut store, module).unwrap();
    let mut function = instance.get_func(&mut store, "run").unwrap();
    let mut results: Vec<Val> = function.ty(&store).results().map(|ty| Val::default_for_ty(&ty).unwrap()).collect();
    if instance.get_export(&mut store, UNWINDING).is_some() {
        give(&mut store, instance);
    }
    loop {
        let returned = function.call(&mut store, &[], &mut results);
        let export = instance.get_export(&mut store, UNWINDING);
        if returned.is_ok() && unwinding(&mut store, export) == Some(1) {
            (store, instance) = moved(store, instance, module, &linker);
            let slot = store.data().frames.last().unwrap()[GROUP - 1] >> 32;
            let table = instance.get_table(&mut store, TABLE).unwrap();
            function = *table.get(&mut store, slot as u64).unwrap().unwrap_func().unwrap();
            continue;
        }
        let results = match returned {
            Ok(()) => Ok(results.iter().map(bits).collect()),
            Err(error) => Err(*error.downcast_ref::<Trap>().unwrap_or_else(|| panic!("{error:?}"))),
        };
        assert!(store.data().frames.is_empty() && !store.data().rewinds());
        let memory = instance.get_memory(&mut store, "memory").map(|memory| memory.data(&store).to_vec());
        let globals = globals(&mut store, instance).iter().map(|(_name, value)| bits(value)).collect();
        let host = store.into_data();
        return (Outcome { results, memory: memory.unwrap_or_default(), globals, told: host.told.clone() }, host);
    }
}

fn globals(store: &mut Store<Host>, instance: Instance) -> Vec<(String, Val)> {
    let names: Vec<String> = instance.exports(&mut *store).map(|it| it.name().to_owned()).collect();
    let names = names.into_iter().filter(|name| name.starts_with("global"));
    names.map(|name| (name.clone(), instance.get_global(&mut *store, &name).unwrap().get(&mut *store))).collect()
}

/// Another instance with the same memory and globals, for the one that was left.
fn moved(
    mut store: Store<Host>,
    instance: Instance,
    module: &Module,
    linker: &Linker<Host>,
) -> (Store<Host>, Instance) {
    let globals = globals(&mut store, instance);
    let memory = instance.get_memory(&mut store, "memory").map(|memory| memory.data(&store).to_vec());
    let mut store = Store::new(module.engine(), store.into_data());
    let instance = linker.instantiate(&mut store, module).unwrap();
    for (name, value) in globals {
        instance.get_global(&mut store, &name).unwrap().set(&mut store, value).unwrap();
    }
    if let Some(bytes) = memory {
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let pages = (bytes.len() >> 16) as u64 - memory.size(&store);
        memory.grow(&mut store, pages).unwrap();
        memory.data_mut(&mut store).copy_from_slice(&bytes);
    }
    give(&mut store, instance);
    (store, instance)
}
