//! The wasmtime engine that functions run on.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::runtime::RuntimeConfig;

/// Guest pages that a freed slot keeps mapped and zeroes in place; unmapping them costs TLB shootdowns on every core.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// A module's tables, and the records of its functions and globals.
const MAX_TABLES_PER_MODULE: u32 = 4;
const MAX_INSTANCE_BYTES: usize = 8 << 20;
/// Frames that a trap's backtrace keeps.
const MAX_FRAMES: usize = 32;

/// The engine: pooled instances with copy-on-write images, epochs for preemption, no shared memories (an atomic wait
/// would hold the thread) and one linear memory for each module.
pub(crate) fn engine(config: &RuntimeConfig) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(config.max_instances)
        .total_memories(config.max_instances)
        .total_stacks(config.max_instances)
        .total_tables(config.max_instances.saturating_mul(MAX_TABLES_PER_MODULE))
        .max_tables_per_module(MAX_TABLES_PER_MODULE)
        .max_memories_per_module(1)
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        .table_elements(usize::try_from(config.max_table_elements)?)
        .max_memory_size(usize::try_from(config.max_memory_bytes)?)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);

    let mut engine = Config::new();
    engine
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(config.stack_bytes)
        // Host functions run on the guest's stack too: WASI and the copies of host calls need some of their own.
        .async_stack_size(config.stack_bytes.saturating_add(config.stack_bytes).max(256 << 10))
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(MAX_FRAMES))
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .concurrency_support(false);
    Engine::new(&engine)
}
