//! A deployed function: a module with a name, limits and a way of making instances.

use std::sync::Arc;
use std::time::Duration;

use crate::abi::{Abi, wapc, wasi};
use crate::compile::Module;
use crate::console::{Budget, Console};
use crate::error::CallError;
use crate::instance::Instance;
use crate::limits::{Limit, Limits};
use crate::metrics::{FunctionStats, Outcome};
use crate::pool::Pool;
use crate::port::Port;
use crate::runtime::Inner;
use crate::state::Call;
use crate::task::{CallFuture, Task};

/// Where the instances of a function come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// A new one for each call: nothing leaks from one call to the next.
    Fresh,
    /// Kept between calls, up to `max_idle` idle ones; memory, globals and tables live on.
    Warm {
        /// Idle instances that are kept.
        max_idle: usize,
    },
}

/// How a module is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionConfig {
    /// The name, as callers, logs and metrics use it.
    pub name: String,
    /// The version, for logs.
    pub version: u64,
    /// Where instances come from.
    pub instances: Instances,
    /// What instances and calls may use.
    pub limits: Limits,
}

/// What a caller asks of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the guest is asked to do.
    pub operation: Vec<u8>,
    /// The input.
    pub payload: Vec<u8>,
    /// How many calls this one is nested in, itself included: 1 for a call from outside.
    pub depth: u32,
    /// The caller's own limit; the function's holds as well.
    pub timeout: Duration,
}

/// A function, ready to be called from any thread. Its warm instances live as long as it does.
pub struct Function {
    module: Arc<Module>,
    shared: Arc<Shared>,
    pool: Option<Arc<Pool>>,
}

/// What all instances of a function share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) limits: Limits,
    pub(crate) stats: Arc<FunctionStats>,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) budget: Budget,
}

impl Function {
    pub(crate) fn new(module: Arc<Module>, config: FunctionConfig) -> Self {
        let runtime = &module.runtime;
        let pool = match config.instances {
            Instances::Fresh => None,
            Instances::Warm { max_idle } => {
                let pool = Arc::new(Pool::new(max_idle));
                runtime.pools.register(&pool);
                Some(pool)
            }
        };
        let shared = Arc::new(Shared {
            stats: runtime.stats.function(&config.name),
            console: Arc::clone(&runtime.console),
            budget: Budget::new(runtime.console_lines_per_s),
            name: config.name,
            version: config.version,
            limits: config.limits,
        });
        Function { module, shared, pool }
    }

    /// Prepares a call; [`Task::drive`] runs it.
    ///
    /// # Errors
    /// [`CallError::Limit`] when the payload is too large or the call too deeply nested.
    pub fn start(self: &Arc<Self>, request: Request) -> Result<Task, CallError> {
        let limits = &self.shared.limits;
        let exceeded = |limit, allowed| {
            self.stats().record(Outcome::Limit, Duration::ZERO, Duration::ZERO);
            Err(CallError::Limit { limit, allowed, frames: Vec::new() })
        };
        if !Limits::fits(request.payload.len(), limits.payload_bytes) {
            return exceeded(Limit::Payload, limits.payload_bytes);
        }
        if request.depth > limits.depth {
            return exceeded(Limit::Depth, u64::from(limits.depth));
        }
        let timeout = request.timeout.min(Duration::from_millis(limits.time_ms));
        let port = Arc::new(Port::default());
        let function = Arc::clone(self);
        let call: CallFuture = match self.module.abi {
            Abi::Wapc => Box::pin(function.call_wapc(request, Arc::clone(&port))),
            Abi::WasiCommand => Box::pin(function.call_program(request, Arc::clone(&port))),
        };
        Ok(self.task(call, port, timeout))
    }

    /// Prepares a trial: one instance is made and dropped again, start functions included.
    #[must_use]
    pub fn start_trial(self: &Arc<Self>) -> Task {
        let port = Arc::new(Port::default());
        let timeout = Duration::from_millis(self.shared.limits.time_ms);
        let trial = Arc::clone(self).trial(Arc::clone(&port));
        self.task(Box::pin(trial), port, timeout).uncounted()
    }

    /// Drops the idle instances and keeps none from now on: a newer version has come, and calls in flight are the last.
    pub fn retire(&self) {
        if let Some(pool) = &self.pool {
            pool.close();
        }
    }

    /// Idle warm instances.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.pool.as_ref().map_or(0, |pool| pool.idle())
    }

    fn task(self: &Arc<Self>, future: CallFuture, port: Arc<Port>, timeout: Duration) -> Task {
        Task::new(future, port, Arc::clone(self), timeout)
    }

    pub(crate) fn runtime(&self) -> &Inner {
        &self.module.runtime
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn stats(&self) -> &FunctionStats {
        &self.shared.stats
    }

    pub(crate) fn uses_wasi(&self) -> bool {
        self.module.uses_wasi
    }

    async fn call_wapc(self: Arc<Self>, request: Request, port: Arc<Port>) -> Result<Vec<u8>, CallError> {
        let warm = self.pool.as_ref().and_then(|pool| pool.take());
        let mut instance = match warm {
            Some(instance) => instance,
            // Boxed, so that a warm call does not carry the room that making an instance needs.
            None => Box::pin(self.instance(request.depth > 1, &port)).await?,
        };
        let parts = instance.parts()?;
        parts.store.set_epoch_deadline(1);
        let state = parts.store.data_mut();
        state.meter.denied = None;
        state.call =
            Call { operation: request.operation, payload: request.payload, port: Some(port), ..Call::default() };
        let outcome = wapc::call(parts).await;
        if let (Some(pool), Ok(_) | Err(CallError::Guest { .. })) = (&self.pool, &outcome) {
            // Nothing of this call stays with the idle instance but what the guest itself remembers.
            parts.store.data_mut().call = Call::default();
            pool.give_back(instance);
            // An instance that is idle while calls wait for one would keep them waiting.
            let runtime = self.runtime();
            if runtime.admission.queued() > 0 {
                drop(runtime.pools.take_any());
            }
        }
        outcome
    }

    async fn call_program(self: Arc<Self>, request: Request, port: Arc<Port>) -> Result<Vec<u8>, CallError> {
        let permit = self.runtime().admission.admit(request.depth > 1, &self.runtime().pools, &port).await?;
        let (context, program) = wasi::program(&self.shared, request);
        let mut instance = Instance::new(&self.module, &self.shared, permit, Some(context)).await?;
        wasi::run(instance.parts()?, &program).await
    }

    async fn trial(self: Arc<Self>, port: Arc<Port>) -> Result<Vec<u8>, CallError> {
        drop(self.instance(false, &port).await?);
        Ok(Vec::new())
    }

    async fn instance(&self, nested: bool, port: &Port) -> Result<Instance, CallError> {
        let runtime = &self.module.runtime;
        let permit = runtime.admission.admit(nested, &runtime.pools, port).await?;
        let wasi = self.module.uses_wasi.then(|| wasi::library(&self.shared));
        Instance::new(&self.module, &self.shared, permit, wasi).await
    }
}
