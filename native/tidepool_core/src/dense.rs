//! Memories and stacks of the dense engine: slots of two slabs, each one mapping of address space.
//!
//! An instance of the fast engine takes several mappings of the process, of which the kernel allows 65,530 in all, and so
//! ends at some thousands whatever the memory. Here a slot is a part of a mapping that exists anyway: a hundred thousand
//! guests fit, at the price of a bounds check at each access to memory, for no guard pages follow one.
//!
//! All that is unsafe about it is in here: [`os`] holds the system calls, [`slab`] lends slots, [`memory`] and [`stack`]
//! hand them to wasmtime. [`capacity`] finds how many the machine has room for.

mod capacity;
mod high_water;
mod memory;
mod os;
mod slab;
mod stack;

use std::sync::Arc;

use wasmtime::{Config, InstanceAllocationStrategy};

use memory::Memories;
use os::Guards;
use slab::Slab;
pub(crate) use slab::SlabError;
use stack::Stacks;

/// Slots beyond the cap on instances: an instance gives its slots back a moment before its place.
const SPARE_SLOTS: usize = 16;
/// Most elements of a table. Tables are no part of a slab: larger ones would each be a mapping of their own.
pub(crate) const MAX_TABLE_ELEMENTS: u32 = 10_000;

/// What the dense engine gives its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseConfig {
    /// Cap on live instances, idle warm ones included; `None` is as many as the machine has room for.
    pub max_instances: Option<u32>,
    /// Largest memory limit that a function may be given, in bytes. Each instance has so much address space.
    pub max_memory_bytes: u64,
}

impl Default for DenseConfig {
    fn default() -> Self {
        DenseConfig { max_instances: None, max_memory_bytes: 64 << 20 }
    }
}

/// The slabs of one engine.
pub(crate) struct Slabs {
    memories: Arc<Slab>,
    stacks: Arc<Slab>,
    /// How many instances they hold.
    pub(crate) instances: usize,
}

impl Slabs {
    /// Reserves address space for memories and for stacks of `stack_bytes`, in a process that maps memory for
    /// `fast_instances` elsewhere.
    ///
    /// # Errors
    /// When the system does not give so much address space as `config` asks for; left to the machine, it is less.
    pub(crate) fn new(config: &DenseConfig, stack_bytes: usize, fast_instances: usize) -> std::io::Result<Self> {
        let guards = Guards::probe();
        let memory_bytes = usize::try_from(config.max_memory_bytes).unwrap_or(usize::MAX);
        let reserve = |instances: usize| {
            let slots = instances.saturating_add(SPARE_SLOTS);
            let memories = Slab::new(slots, memory_bytes, None)?;
            let stacks = Slab::new(slots, stack_bytes, Some(guards))?;
            Ok(Slabs { memories, stacks, instances })
        };
        match config.max_instances {
            Some(instances) => reserve(usize::try_from(instances).unwrap_or(usize::MAX)),
            None => {
                let slot_bytes = memory_bytes.saturating_add(stack_bytes);
                let mut instances = capacity::instances(guards, slot_bytes, fast_instances);
                loop {
                    match reserve(instances) {
                        Err(_) if instances > 1 => instances /= 2,
                        reserved => return reserved,
                    }
                }
            }
        }
    }

    /// Has `config`, whose code is the dense engine's, take memories and stacks from here.
    pub(crate) fn configure(&self, config: &mut Config) {
        config
            .allocation_strategy(InstanceAllocationStrategy::OnDemand)
            .with_host_memory(Arc::new(Memories(Arc::clone(&self.memories))))
            .with_host_stack(Arc::new(Stacks(Arc::clone(&self.stacks))));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;
    use crate::compiler::Codegen;

    /// Makes and calls instances, and keeps them, until one can't be had.
    fn fill(memories: usize, stacks: usize) -> (usize, wasmtime::Error) {
        let slabs = Slabs {
            memories: Slab::new(memories, 64 << 10, None).unwrap(),
            stacks: Slab::new(stacks, 1 << 20, Some(Guards::probe())).unwrap(),
            instances: usize::MAX,
        };
        let mut config = Codegen::Dense.config();
        config.async_stack_size(1 << 20);
        slabs.configure(&mut config);
        let engine = Engine::new(&config).unwrap();
        let wasm = wat::parse_str(r#"(module (memory 1) (func (export "f")))"#).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        let mut stores = Vec::new();
        loop {
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(1);
            let made = pin!(async {
                let instance = Instance::new_async(&mut store, &module, &[]).await?;
                instance.get_typed_func::<(), ()>(&mut store, "f")?.call_async(&mut store, ()).await
            })
            .poll(&mut Context::from_waker(Waker::noop()));
            match made {
                Poll::Ready(Ok(())) => stores.push(store),
                Poll::Ready(Err(error)) => return (stores.len(), error),
                Poll::Pending => unreachable!("nothing here waits"),
            }
        }
    }

    #[test]
    fn an_instance_that_finds_no_slot_is_refused_with_an_error_that_is_told_from_others() {
        for (memories, stacks) in [(3, 8), (8, 3)] {
            let (made, error) = fill(memories, stacks);
            assert_eq!(made, 3);
            assert!(SlabError::is(&error), "{error:?}");
        }
        assert!(!SlabError::is(&wasmtime::Error::msg("something else")));
    }
}
