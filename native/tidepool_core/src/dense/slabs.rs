//! The slabs of one engine, and how wasmtime comes to use them.

use std::sync::Arc;

use wasmtime::{Config, InstanceAllocationStrategy};

use super::capacity;
use super::memory::Memories;
use super::os::Guards;
use super::slab::Slab;
use super::stack::Stacks;
use crate::base::config::DenseConfig;
use crate::base::limits::{MAX_MEMORIES_PER_MODULE, TRIALS, further_stacks};

/// Slots beyond the cap on instances: an instance gives its slots back a moment before its place.
const SPARE_SLOTS: usize = 16;

/// Memories of a place.
const MEMORIES: usize = MAX_MEMORIES_PER_MODULE as usize;

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
    /// When the system does not give as much address space as `config` asks for; left to the machine, it is less.
    pub(crate) fn new(config: &DenseConfig, stack_bytes: usize, fast_instances: usize) -> std::io::Result<Self> {
        let guards = Guards::probe();
        let memory_bytes = usize::try_from(config.max_memory_bytes).unwrap_or(usize::MAX);
        let reserve = |instances: usize| {
            let slots = instances.saturating_add(SPARE_SLOTS).saturating_add(TRIALS);
            let memories = Slab::new(slots.saturating_mul(MEMORIES), memory_bytes, None)?;
            let stacks = Slab::new(slots.saturating_add(further_stacks(instances)), stack_bytes, Some(guards))?;
            Ok(Slabs { memories, stacks, instances })
        };
        match config.max_instances {
            Some(instances) => reserve(usize::try_from(instances).unwrap_or(usize::MAX)),
            None => {
                let slot_bytes = memory_bytes.saturating_mul(MEMORIES).saturating_add(stack_bytes);
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

    /// Gives pages back that nobody has wanted since the last look; whether many instances have gone.
    pub(crate) fn look(&self) -> bool {
        let memories = self.memories.look();
        self.stacks.look() || memories
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

    use super::super::slab::SlabError;
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
