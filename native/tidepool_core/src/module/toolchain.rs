//! What modules are compiled with, and what they keep alive.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::cache::Cache;
use super::files::CodeFiles;
use crate::abi::contract::Spec;
use crate::base::config::RuntimeConfig;
use crate::compiler::Compilers;
use crate::engine::engines::Engines;
use crate::metrics::counters::Stats;
use crate::snapshot::Sandbox;

/// Engines, compilers and cache of a runtime.
pub(crate) struct Toolchain {
    /// The ABIs that modules may speak.
    pub(crate) abis: Vec<Spec>,
    pub(crate) engines: Engines,
    pub(crate) compilers: Compilers,
    pub(crate) sandbox: Sandbox,
    pub(crate) cache: ArcSwapOption<Cache>,
    pub(crate) stats: Arc<Stats>,
    pub(super) files: Arc<CodeFiles>,
    pub(super) max_table_elements: u32,
}

impl Toolchain {
    pub(crate) fn new(config: &RuntimeConfig, abis: Vec<Spec>, stats: &Arc<Stats>) -> wasmtime::Result<Self> {
        Ok(Toolchain {
            engines: Engines::new(config, &abis)?,
            abis,
            compilers: Compilers {
                program: config.compiler.clone(),
                bounds: config.compile_bounds,
                max_code_bytes: config.max_code_bytes,
            },
            sandbox: Sandbox::new(config)?,
            cache: ArcSwapOption::empty(),
            stats: Arc::clone(stats),
            files: CodeFiles::of_process(),
            max_table_elements: config.max_table_elements,
        })
    }
}
