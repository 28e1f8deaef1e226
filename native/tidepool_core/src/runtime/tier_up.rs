//! Tier-up: optimised code for functions that the baseline tier serves, and the switch to it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::handle::Runtime;
use crate::base::error::CompileError;
use crate::function::handle::Function;
use crate::module::compile::optimised;

/// How long the optimised code of a function took, or why there is none.
pub type Optimised = Result<Duration, CompileError>;

impl Runtime {
    /// Has the function that is published as `name` compiled by the optimising compiler, if the baseline one has compiled
    /// it, and puts it on that code when it is ready, in one step: calls that began before end on the instances that they
    /// have, and later ones get new ones. Name, version, limits, counters and queues stay.
    ///
    /// `told` is called with the outcome on a thread of [`Runtime::compile_pool`]; it is dropped when the function is replaced
    /// or removed before. Without optimised code the function stays as it is.
    pub fn optimise(self: &Arc<Self>, name: &str, told: impl FnOnce(Optimised) + Send + 'static) {
        let published = self.directory.with(name, |published| Arc::clone(&published.function));
        let Some(function) = published.filter(|function| function.module().awaits_optimised()) else { return };
        let bytes = function.module().unoptimised_bytes();
        let (runtime, function, name) = (Arc::downgrade(self), Arc::downgrade(&function), name.to_owned());
        let owner = name.split_once('/').map_or("", |(namespace, _function)| namespace).to_owned();
        self.compile_pool.submit_background(&owner, bytes, move || {
            if let Some((it, published)) = wanted(&runtime, &name, &function) {
                it.optimise_now(&name, &published, &|| wanted(&runtime, &name, &function).is_some(), told);
            }
        });
    }

    fn optimise_now(
        &self,
        name: &str,
        function: &Arc<Function>,
        wanted: &dyn Fn() -> bool,
        told: impl FnOnce(Optimised),
    ) {
        match optimised(function.module(), wanted) {
            Some(Ok(module)) => {
                let module = Arc::new(module);
                let successor = Arc::new(function.with_code(&module));
                if self.directory.replace(name, function, &successor) {
                    told(Ok(module.compile_time()));
                    // After the switch: no call waits for the disk.
                    module.keep();
                }
            }
            None | Some(Err(CompileError::Unwanted)) => {}
            Some(Err(error)) => told(Err(error)),
        }
    }
}

/// The function, if it is still what is published under its name.
fn wanted(runtime: &Weak<Runtime>, name: &str, function: &Weak<Function>) -> Option<(Arc<Runtime>, Arc<Function>)> {
    let (runtime, function) = (runtime.upgrade()?, function.upgrade()?);
    let published = runtime.directory.with(name, |published| Arc::ptr_eq(&published.function, &function));
    (published == Some(true)).then_some((runtime, function))
}
