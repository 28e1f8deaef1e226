//! A deployed function: a module with a name, limits and a way of making instances.

use std::sync::Arc;
use std::time::Duration;

use crate::abi::{Abi, wapc, wasi};
use crate::admission::{FunctionCap, Permit};
use crate::brevity::Brevity;
use crate::compile::Module;
use crate::console::{Budget, Console};
use crate::engine::{Engine, Tier};
use crate::error::CallError;
use crate::instance::Instance;
use crate::limits::{Limit, Limits};
use crate::memory;
use crate::metrics::{FunctionStats, Outcome};
use crate::pool::Pool;
use crate::port::Port;
use crate::reaper::Reaper;
use crate::runtime::Inner;
use crate::shard::Sharded;
use crate::snapshot::Origin;
use crate::state::Call;
use crate::task::{CallFuture, Task};
use crate::ticker::FIRST_SLICE_TICKS;
use crate::trap::Exported;

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
    /// All alike. Each call counts itself among those that use one, and threads need not fight over that counter.
    replicas: Sharded<Arc<Replica>>,
    instances: Instances,
}

/// A function, as its calls hold it.
pub(crate) struct Replica {
    pub(crate) module: Arc<Module>,
    pub(crate) shared: Arc<Shared>,
    pool: Option<Arc<Pool>>,
    cap: Option<Arc<FunctionCap>>,
    pub(crate) brevity: Brevity,
}

impl Replica {
    /// The end of a call that is above a limit before it begins.
    fn exceeded(&self, limit: Limit, allowed: u64) -> CallError {
        self.shared.stats.record(Outcome::Limit, Duration::ZERO, Duration::ZERO);
        CallError::limit(limit, allowed)
    }
}

/// What all instances of a function share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) version: u64,
    pub(crate) limits: Limits,
    pub(crate) stats: Arc<FunctionStats>,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) reaper: Reaper,
    /// What instances of this function may have together, where that is less than what all may have.
    pub(crate) own_memory: Option<Arc<memory::Budget>>,
    pub(crate) node_memory: Arc<memory::Budget>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) exported: Arc<Exported>,
}

impl Shared {
    /// Reserves linear memory for an instance.
    pub(crate) fn reserve_memory(&self, bytes: u64) -> bool {
        let own = self.own_memory.as_deref();
        if !own.is_none_or(|own| own.reserve(bytes)) {
            return false;
        }
        let reserved = self.node_memory.reserve(bytes);
        if let (Some(own), false) = (own, reserved) {
            own.release(bytes);
        }
        reserved
    }

    pub(crate) fn release_memory(&self, bytes: u64) {
        if let Some(own) = &self.own_memory {
            own.release(bytes);
        }
        self.node_memory.release(bytes);
    }

    /// What an instance that was refused memory came up against.
    pub(crate) fn total_memory_bytes(&self) -> u64 {
        self.limits.total_memory_bytes.min(self.node_memory.limit())
    }
}

/// What a task and its guest share.
pub(crate) struct Link {
    pub(crate) replica: Arc<Replica>,
    pub(crate) port: Port,
}

impl Function {
    pub(crate) fn new(module: Arc<Module>, config: FunctionConfig) -> Self {
        let runtime = &module.runtime;
        let instances = config.instances;
        let shared = Shared {
            stats: runtime.stats.function(&config.name),
            console: Arc::clone(&runtime.console),
            budget: Arc::new(Budget::new(runtime.console_lines_per_s)),
            reaper: runtime.reaper.clone(),
            own_memory: capped(config.limits.total_memory_bytes, runtime.memory.limit())
                .map(|bytes| Arc::new(memory::Budget::new(bytes))),
            node_memory: Arc::clone(&runtime.memory),
            name: config.name.into(),
            version: config.version,
            limits: config.limits,
            origin: Arc::clone(&module.origin),
            exported: Arc::clone(&module.exported),
        };
        let most = usize::try_from(shared.limits.instances).unwrap_or(usize::MAX);
        let cap = capped(most, module.engine().admission.max_instances()).map(|instances| {
            let (stats, waiting) = (Arc::clone(&shared.stats), Arc::clone(&runtime.queued_at_caps));
            Arc::new(FunctionCap::new(&shared.limits, instances, stats, waiting))
        });
        Self::with(&module, instances, &shared, cap.as_ref())
    }

    fn with(module: &Arc<Module>, instances: Instances, shared: &Shared, cap: Option<&Arc<FunctionCap>>) -> Self {
        let pool = match instances {
            Instances::Fresh => None,
            Instances::Warm { max_idle } => {
                let pool = Arc::new(Pool::new(max_idle));
                module.engine().pools.register(&pool);
                Some(pool)
            }
        };
        let replica = || {
            let (module, shared, pool) = (Arc::clone(module), Arc::new(shared.clone()), pool.clone());
            Arc::new(Replica { module, shared, pool, cap: cap.cloned(), brevity: Brevity::default() })
        };
        Function { replicas: Sharded::new(replica), instances }
    }

    /// The same version with other code of its module: with its counters, its budgets, its places and those who wait for
    /// one, and with a pool of its own, for an instance can't change its code.
    pub(crate) fn with_code(&self, module: &Arc<Module>) -> Self {
        let replica = self.replicas.mine();
        let shared = Shared { origin: Arc::clone(&module.origin), ..Shared::clone(&replica.shared) };
        Self::with(module, self.instances, &shared, replica.cap.as_ref())
    }

    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.replicas.mine().module
    }

    /// Which compiler's code it runs.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.module().tier()
    }

    /// Largest payload of a call, in bytes.
    #[must_use]
    pub fn payload_limit(&self) -> u64 {
        self.replicas.mine().shared.limits.payload_bytes
    }

    /// Whether a payload of so many bytes may come: for who has yet to read or to copy it.
    ///
    /// # Errors
    /// [`CallError::Limit`] when it is too large; the call is over then, and counted.
    pub fn admit(&self, payload_bytes: usize) -> Result<(), CallError> {
        let replica = self.replicas.mine();
        let allowed = replica.shared.limits.payload_bytes;
        if Limits::fits(payload_bytes, allowed) { Ok(()) } else { Err(replica.exceeded(Limit::Payload, allowed)) }
    }

    /// Prepares a call; [`Task::drive`] runs it.
    ///
    /// # Errors
    /// [`CallError::Limit`] when the payload is too large or the call too deeply nested.
    pub fn start(&self, request: Request) -> Result<Task, CallError> {
        let replica = self.replicas.mine();
        let limits = &replica.shared.limits;
        if !Limits::fits(request.payload.len(), limits.payload_bytes) {
            return Err(replica.exceeded(Limit::Payload, limits.payload_bytes));
        }
        if request.depth > limits.depth {
            return Err(replica.exceeded(Limit::Depth, u64::from(limits.depth)));
        }
        let timeout = request.timeout.min(Duration::from_millis(limits.time_ms));
        let link = Link::new(replica);
        let call: CallFuture = match replica.module.abi {
            Abi::Wapc => Box::pin(call_wapc(Arc::clone(&link), request)),
            Abi::WasiCommand => Box::pin(call_program(Arc::clone(&link), request)),
        };
        Ok(Task::new(call, link, timeout))
    }

    /// Prepares a trial: one instance is made and dropped again, start functions included, and what those printed that were
    /// run ahead of it is printed.
    #[must_use]
    pub fn start_trial(&self) -> Task {
        let replica = self.replicas.mine();
        let link = Link::new(replica);
        let timeout = Duration::from_millis(replica.shared.limits.time_ms);
        Task::new(Box::pin(trial(Arc::clone(&link))), link, timeout).uncounted()
    }

    /// Drops the idle instances and keeps none from now on: a newer version has come, and calls in flight are the last.
    pub fn retire(&self) {
        if let Some(pool) = &self.replicas.mine().pool {
            pool.close();
        }
    }

    /// The version, as it was deployed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.replicas.mine().shared.version
    }

    /// Idle warm instances.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.replicas.mine().pool.as_ref().map_or(0, |pool| pool.idle())
    }

    /// Whether the next call is likely to be so short that a thread which serves others as well may drive its first
    /// slice, with [`Task::drive_in_passing`]. Each thread finds out for itself.
    #[must_use]
    pub fn is_brief(&self) -> bool {
        self.replicas.mine().brevity.is_brief()
    }
}

/// A function's own cap, where it is below what all functions have together.
fn capped<T: PartialOrd>(own: T, all: T) -> Option<T> {
    (own < all).then_some(own)
}

impl Link {
    fn new(replica: &Arc<Replica>) -> Arc<Self> {
        Arc::new(Link { replica: Arc::clone(replica), port: Port::default() })
    }
}

impl Replica {
    pub(crate) fn runtime(&self) -> &Inner {
        &self.module.runtime
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    fn engine(&self) -> &Engine {
        self.module.engine()
    }

    /// A place among the calls that the function may have at once, where there is a limit.
    async fn place(&self, nested: bool, port: &Port) -> Result<Option<Permit>, CallError> {
        match &self.cap {
            Some(cap) => Box::pin(cap.admit(nested, port)).await.map(Some),
            None => Ok(None),
        }
    }

    /// The right to one more live instance.
    async fn admit(&self, nested: bool, port: &Port) -> Result<Permit, CallError> {
        let engine = self.engine();
        let permit = engine.admission.admit(nested, &engine.pools, port).await?;
        self.make_room()?;
        Ok(permit)
    }

    /// Sees to it that there is memory for a new instance; idle ones give way to it.
    fn make_room(&self) -> Result<(), CallError> {
        let bytes = self.module.initial_memory_bytes;
        let overloaded = |whose: &str, allowed: u64| {
            let message = format!("{whose} have the {allowed} bytes of linear memory that they may have together");
            Err(CallError::Overloaded { message })
        };
        if let Some(own) = &self.shared.own_memory
            && !own.has(bytes)
        {
            return overloaded("the instances of this function", own.limit());
        }
        let memory = &self.shared.node_memory;
        while !memory.has(bytes) {
            let Some(idle) = self.runtime().engines.all().find_map(|engine| engine.pools.take_any()) else {
                return overloaded("the instances of this node", memory.limit());
            };
            idle.drop_now();
        }
        Ok(())
    }

    async fn instance(&self, nested: bool, port: &Port) -> Result<Instance, CallError> {
        let permit = self.admit(nested, port).await?;
        Instance::new(&self.module, &self.shared, permit, None).await
    }
}

async fn call_wapc(link: Arc<Link>, request: Request) -> Result<Vec<u8>, CallError> {
    let replica = &*link.replica;
    // Held until the instance is back in its pool: who comes in then finds it there.
    let _place = replica.place(request.depth > 1, &link.port).await?;
    let warm = replica.pool.as_ref().and_then(|pool| pool.take());
    let mut instance = match warm {
        Some(instance) => instance,
        // Boxed, so that a warm call does not carry the room that making an instance needs.
        None => Box::pin(replica.instance(request.depth > 1, &link.port)).await?,
    };
    let parts = instance.parts()?;
    parts.store.set_epoch_deadline(FIRST_SLICE_TICKS);
    let state = parts.store.data_mut();
    state.meter.denied = None;
    let Request { operation, payload, .. } = request;
    state.call = Call { operation, payload, link: Some(Arc::clone(&link)), ..Call::default() };
    if let Some(tail) = &state.tail {
        link.port.set_tail(tail);
    }
    let outcome = wapc::call(parts).await;
    if let (Some(pool), Ok(_) | Err(CallError::Guest { .. })) = (&replica.pool, &outcome) {
        // Nothing of this call stays with the idle instance but what the guest itself remembers.
        let state = parts.store.data_mut();
        state.note_memory();
        state.call = Call::default();
        if let Some(tail) = &state.tail {
            tail.clear();
        }
        pool.give_back(instance);
        // An instance that is idle while calls wait for one would keep them waiting.
        let engine = replica.engine();
        if engine.admission.queued() > 0 {
            drop(engine.pools.take_any());
        }
    }
    outcome
}

async fn call_program(link: Arc<Link>, request: Request) -> Result<Vec<u8>, CallError> {
    let replica = &*link.replica;
    let _place = replica.place(request.depth > 1, &link.port).await?;
    let permit = replica.admit(request.depth > 1, &link.port).await?;
    let (world, program) = wasi::program(&link, request);
    let mut instance = Instance::new(&replica.module, &replica.shared, permit, Some(world)).await?;
    let parts = instance.parts()?;
    parts.store.data_mut().call.account = Some(Arc::clone(&link));
    wasi::run(parts, &program).await
}

async fn trial(link: Arc<Link>) -> Result<Vec<u8>, CallError> {
    let replica = &link.replica;
    drop(replica.instance(false, &link.port).await?);
    replica.module.origin.printed.print(&replica.shared);
    Ok(Vec::new())
}
