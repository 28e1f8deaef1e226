//! A module that functions can be made of.

use std::ops::Deref;
use std::sync::Arc;

use super::handle::Function;
use crate::base::config::FunctionConfig;
use crate::base::error::CompileError;
use crate::call::code_share::LastShare;
use crate::call::node::Node;
use crate::call::target::Entry;
use crate::module::compiled::CompiledModule;

/// A module that was checked, compiled and linked. Functions are made from it without further work.
pub struct Module {
    compiled: Arc<CompiledModule>,
    node: Arc<Node>,
    entry: Entry,
    code: LastShare,
}

impl Module {
    pub(crate) fn new(compiled: CompiledModule, node: &Arc<Node>, entry: Entry) -> Self {
        Module { compiled: Arc::new(compiled), node: Arc::clone(node), entry, code: LastShare::default() }
    }

    /// A function of this module: the module with a name, limits and a way of making instances.
    ///
    /// # Errors
    /// - [`CompileError::TooDemanding`] when the module starts with more memory than the limits allow.
    /// - [`CompileError::Config`] when the configuration does not suit the module or the runtime.
    pub fn function(&self, mut config: FunctionConfig) -> Result<Function, CompileError> {
        self.compiled.fit(&mut config.limits, config.instances)?;
        if config.record.is_some() && !config.folders.is_empty() {
            let message = "processes that have folders can't be recorded: leave out `record` or `files`";
            return Err(CompileError::Config { message: message.into() });
        }
        if config.record.is_some() && !config.grants.is_empty() {
            let message = "calls of a function that may use the network can't be recorded: leave out `record` or `net`";
            return Err(CompileError::Config { message: message.into() });
        }
        Ok(Function::new(&self.node, &self.compiled, self.entry, config, &self.code))
    }
}

impl Deref for Module {
    type Target = CompiledModule;

    fn deref(&self) -> &CompiledModule {
        &self.compiled
    }
}
