//! A bare loop over wasmtime: what `bench/run components` holds calls of components against.
//!
//! `bare_component CALC` has the guest `component/calc`, compiled by the optimising compiler, its instances slots of a pool. It reads
//! lines `SUBJECT CALLS`, makes so many calls of `add`, and answers with the nanoseconds of a call, which are those of all by their
//! number, or with a third word, `each`, with those of each. It ends with its input. Subjects:
//!
//! - `warm`: on one instance, by a function whose type is known when this is compiled;
//! - `warm-values`: the same by values, as a host calls that learns the type at run time;
//! - `fresh`: each call on an instance of its own, in a store of its own.
//!
//! `bare_component winch FILE` compiles a component by the baseline compiler alone, and answers with the nanoseconds of that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a tool of the bench")]

use std::io::BufRead;
use std::time::Instant;

use wasmtime::component::{Component, Func, Instance, InstancePre, Linker, TypedFunc, Val};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, Strategy};

/// What stays mapped of a slot that is lent again, as Tidepool has it.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;

type Add = TypedFunc<(u32, u32), (u32,)>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["winch", file] => println!("{}", winch(file)),
        [calc] => serve(calc),
        _ => panic!("bare_component CALC, or bare_component winch FILE"),
    }
}

fn winch(file: &str) -> u128 {
    let bytes = std::fs::read(file).unwrap();
    let engine = Engine::new(Config::new().strategy(Strategy::Winch)).unwrap();
    let began = Instant::now();
    Component::new(&engine, bytes).unwrap();
    began.elapsed().as_nanos()
}

fn serve(calc: &str) {
    let pre = prepared(&std::fs::read(calc).unwrap());
    let mut store = Store::new(pre.engine(), ());
    let instance = pre.instantiate(&mut store).unwrap();
    let (add, by_values) = (typed(&mut store, &instance), func(&mut store, &instance));
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let each = words.len() > 2;
        let calls: u32 = words[1].parse().unwrap();
        match words[0] {
            "warm" => time(calls, each, || {
                add.call(&mut store, (1, 2)).unwrap();
            }),
            "warm-values" => time(calls, each, || {
                let mut results = [Val::Bool(false)];
                by_values.call(&mut store, &[Val::U32(1), Val::U32(2)], &mut results).unwrap();
            }),
            "fresh" => time(calls, each, || {
                let mut store = Store::new(pre.engine(), ());
                let instance = pre.instantiate(&mut store).unwrap();
                let add = typed(&mut store, &instance);
                add.call(&mut store, (1, 2)).unwrap();
            }),
            other => panic!("there is no {other}"),
        }
    }
}

fn prepared(bytes: &[u8]) -> InstancePre<()> {
    let mut pool = PoolingAllocationConfig::new();
    pool.linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let engine = Engine::new(Config::new().allocation_strategy(InstanceAllocationStrategy::Pooling(pool))).unwrap();
    let component = Component::new(&engine, bytes).unwrap();
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&component).unwrap();
    linker.instantiate_pre(&component).unwrap()
}

fn func(store: &mut Store<()>, instance: &Instance) -> Func {
    let interface = instance.get_export_index(&mut *store, None, "docs:adder/add@0.1.0").unwrap();
    let add = instance.get_export_index(&mut *store, Some(&interface), "add").unwrap();
    instance.get_func(&mut *store, add).unwrap()
}

fn typed(store: &mut Store<()>, instance: &Instance) -> Add {
    func(store, instance).typed(store).unwrap()
}

fn time(calls: u32, each: bool, mut call: impl FnMut()) {
    if each {
        for _ in 0..calls {
            let began = Instant::now();
            call();
            print!("{} ", began.elapsed().as_nanos());
        }
        println!();
    } else {
        let began = Instant::now();
        (0..calls).for_each(|_| call());
        println!("{}", began.elapsed().as_nanos() / u128::from(calls));
    }
}
