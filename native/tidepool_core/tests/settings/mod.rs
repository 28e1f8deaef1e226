//! Settings that tests, benches and fuzz targets begin with. Users' defaults are Elixir's.

#![allow(dead_code, reason = "not all of those who include this use all of it")]

use std::collections::HashMap;
use std::time::Duration;

use tidepool_core::{
    CompileBounds, DenseConfig, FilesConfig, FunctionConfig, Grants, HostGrants, Instances, IoBackend, Limits,
    NetworkConfig, RuntimeConfig,
};

pub(crate) const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    table_elements: 65_536,
    time_ms: 5_000,
    cpu_time_ms: 1_000,
    payload_bytes: 8 << 20,
    reply_bytes: 8 << 20,
    depth: 64,
    instances: u32::MAX,
    queue: 1_000,
    total_memory_bytes: u64::MAX,
    client_idle_ms: u64::MAX,
};

pub(crate) const DENSE: DenseConfig = DenseConfig { max_instances: None, max_memory_bytes: 64 << 20 };

pub(crate) const COMPILE_BOUNDS: CompileBounds = CompileBounds { time: Duration::from_secs(10), memory_bytes: 1 << 30 };

/// Room for few instances, so that tests in parallel don't fight over address space.
pub(crate) fn small() -> RuntimeConfig {
    RuntimeConfig {
        max_instances: 8,
        max_queue: 8,
        max_memory_bytes: 64 << 20,
        max_table_elements: 1 << 17,
        console_lines_per_s: u32::MAX,
        dense: DenseConfig { max_instances: Some(8), ..DENSE },
        // Tests drive guests by turns and not at all, so those must not wait for each other.
        max_computing: 1_000,
        ..runtime_config()
    }
}

/// The fast engine, and compiling on the runtime's own threads.
pub(crate) fn runtime_config() -> RuntimeConfig {
    RuntimeConfig {
        max_instances: 4_096,
        max_queue: 16_384,
        max_memory_bytes: 4 << 30,
        max_table_elements: 1 << 20,
        stack_bytes: 512 << 10,
        console_lines_per_s: 100,
        perf_map: false,
        compile_threads: 1,
        compiler: None,
        compile_bounds: COMPILE_BOUNDS,
        baseline_bytes: 0,
        dense: DENSE,
        max_total_memory_bytes: u64::MAX / 2,
        max_code_bytes: usize::MAX / 2,
        max_computing: std::thread::available_parallelism().map_or(1, usize::from),
        network: network(),
        files: FilesConfig { max_program_files: 100, max_program_bytes: 1 << 20 },
        namespaces: Vec::new(),
    }
}

/// All that a deploy may grant, which it does not by itself.
pub(crate) fn network() -> NetworkConfig {
    NetworkConfig { grants: Grants::all(), max_sockets: 1_024, max_program_sockets: 256, io: IoBackend::Tokio }
}

/// A function `guest`, of which each call has an instance of its own.
pub(crate) fn function_config() -> FunctionConfig {
    FunctionConfig {
        name: "guest".into(),
        version: 1,
        instances: Instances::Fresh,
        limits: LIMITS,
        host: HostGrants::All,
        grants: Grants::default(),
        folders: Vec::new(),
        config: HashMap::new(),
        keyvalue: Vec::new(),
        keep_payloads: false,
        record: None,
        kept_bytes: 0,
    }
}
