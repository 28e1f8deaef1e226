//! A deployed function: a module with a name, limits and a way of making instances.

use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::instance::OwnedInstance;
use crate::base::config::{FunctionConfig, Instances, Tier};
use crate::base::error::{CallError, CompileError};
use crate::base::fair_share::Takers;
use crate::base::request::{Address, Away, Request, Takes};
use crate::call::arrival::{self, Part};
use crate::call::code_share::{CodeShare, LastShare};
use crate::call::member::ProcessRef;
use crate::call::node::Node;
use crate::call::process::{self, ProcessOptions};
use crate::call::sockets::Sockets;
use crate::call::target::{Entry, Target};
use crate::call::task::Task;
use crate::image::reader::Image;
use crate::instance::admission::FunctionCap;
use crate::instance::warm_pool::WarmPool;
use crate::instance::watch::Watch;
use crate::module::compiled::CompiledModule;
use crate::os::per_thread::Sharded;
use crate::recording::policy::Policy;
use crate::recording::report::Replay;
use crate::recording::{Damaged, Head, How, Recording};
use crate::slice::inline_estimate::InlineEstimate;
use crate::store::context::{FunctionContext, IdleInstances};
use crate::store::host_share::HostShare;
use crate::store::line_budget::LineBudget;
use crate::store::memory_budget::MemoryBudget;

/// A function, ready to be called from any thread. Its warm instances live as long as it does.
pub struct Function {
    /// All alike. Each call holds a reference to one; with one per thread, threads don't share a reference counter.
    targets: Sharded<Arc<Target>>,
    instances: Instances,
}

/// Room on the host for an image, until it is dropped.
pub struct ImageRoom(HostShare);

impl Function {
    pub(super) fn new(
        node: &Arc<Node>,
        module: &Arc<CompiledModule>,
        entry: Entry,
        config: FunctionConfig,
        last: &LastShare,
    ) -> Self {
        let (instances, text_bytes) = (config.instances, config.text_bytes());
        let stats = Arc::new(node.stats.version(&config.name, config.version));
        if module.abi.takes == Takes::Requests {
            stats.function.handle_http();
        }
        let places = node.places(module.engine);
        let holders = [Some(&stats.function.stacks), node.namespace(&config.name).map(|it| &it.stacks)]
            .map(|held| Some(held?.of(module.engine)));
        let own_memory = || {
            capped(config.limits.total_memory_bytes, node.memory.limit())
                .map(|bytes| Arc::new(MemoryBudget::new(bytes)))
        };
        let function = FunctionContext {
            stacks: Takers::new(&places.stacks, holders.into_iter().flatten().cloned().collect(), &Arc::default()),
            stack_bytes: places.stack_bytes,
            console: Arc::clone(&node.console),
            lines: Some(Arc::clone(&node.stats.lines)),
            keep_payloads: config.keep_payloads,
            record: config.record.as_ref().map(|record| {
                let head = module.recorded_as(&config.name, config.version, record.about.clone());
                Arc::new(Policy::new(head, record, &node.recordings))
            }),
            budget: Arc::new(LineBudget::new(node.console_lines_per_s)),
            drop_thread: node.drop_thread.clone(),
            own_memory: own_memory(),
            own_host_memory: own_memory(),
            namespace_memory: node.namespace(&config.name).and_then(|namespace| namespace.memory.clone()),
            node_memory: Arc::clone(&node.memory),
            idle: Arc::downgrade(node) as Weak<dyn IdleInstances>,
            stats,
            name: config.name.into(),
            version: config.version,
            limits: config.limits,
            host: Arc::new(config.host),
            grants: Arc::new(config.grants),
            folders: config.folders.into(),
            config: Arc::new(config.config),
            keyvalue: config.keyvalue.into(),
            text_bytes,
            origin: Arc::clone(&module.origin),
            symbols: Arc::clone(&module.symbols),
        };
        let most = usize::try_from(function.limits.instances).unwrap_or(usize::MAX);
        let cap = capped(most, places.admission.max_instances()).map(|instances| {
            let (stats, waiting) = (Arc::clone(&function.stats.function), Arc::clone(&node.queued_at_caps));
            Arc::new(FunctionCap::new(&function.limits, instances, stats, waiting))
        });
        let sockets = Sockets::new(node, &function);
        let code = CodeShare::again(last, &function, || CodeShare::new(node, &function, module));
        Self::with(node, module, entry, instances, &function, (cap.as_ref(), &sockets, code))
    }

    fn with(
        node: &Arc<Node>,
        module: &Arc<CompiledModule>,
        entry: Entry,
        instances: Instances,
        function: &FunctionContext,
        (cap, sockets, code): (Option<&Arc<FunctionCap>>, &Sockets, Arc<CodeShare>),
    ) -> Self {
        let namespace = node.namespace(&function.name).cloned();
        let pool = match instances {
            Instances::Fresh => None,
            Instances::Warm { max_idle } => {
                let pool = Arc::new(WarmPool::new(max_idle, module.places));
                node.places(module.engine).pools.register(&pool);
                if let Some(namespace) = &namespace {
                    namespace.pools.register(&pool);
                }
                Some(pool)
            }
        };
        let (node, module, function, cap) = (Arc::clone(node), Arc::clone(module), function.clone(), cap.cloned());
        let sockets = sockets.clone();
        let target = move || {
            Arc::new(Target {
                node: Arc::clone(&node),
                module: Arc::clone(&module),
                function: Arc::new(function.clone()),
                entry,
                pool: pool.clone(),
                cap: cap.clone(),
                namespace: namespace.clone(),
                sockets: sockets.apart(),
                code: Arc::clone(&code),
                inline_estimate: InlineEstimate::default(),
            })
        };
        Function { targets: Sharded::new(target), instances }
    }

    /// The same version with other code of its module. Counters, budgets, cap and queue stay; the pool is a new one, for an
    /// instance can't change its code.
    pub(crate) fn with_code(&self, module: &Arc<CompiledModule>) -> Self {
        let target = self.targets.mine();
        let recorded = |head: &Head| module.recorded_as(&head.name, head.version, head.about.clone());
        let function = FunctionContext {
            origin: Arc::clone(&module.origin),
            record: target.function.record.as_ref().map(|policy| Arc::new(policy.with_head(recorded))),
            ..FunctionContext::clone(&target.function)
        };
        let code = CodeShare::new(&target.node, &function, module);
        Self::with(
            &target.node,
            module,
            target.entry,
            self.instances,
            &function,
            (target.cap.as_ref(), &target.sockets, code),
        )
    }

    /// Notes that it was removed, and not replaced by another version.
    pub(crate) fn note_removed(&self) {
        let function = &self.targets.mine().function;
        function.stats.function.remove(function.version);
    }

    pub(crate) fn module(&self) -> &Arc<CompiledModule> {
        &self.targets.mine().module
    }

    /// May a process run what its module exports?
    #[must_use]
    pub fn runs(&self) -> bool {
        self.module().abi.runs
    }

    /// Are its arguments and results values, or JSON?
    #[must_use]
    pub fn is_typed(&self) -> bool {
        self.module().abi.takes == Takes::Values
    }

    /// Does it handle requests of HTTP?
    #[must_use]
    pub fn handles_http(&self) -> bool {
        self.module().abi.takes == Takes::Requests
    }

    /// The tier whose code it runs.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.module().tier()
    }

    /// Largest payload of a call, in bytes.
    #[must_use]
    pub fn payload_limit(&self) -> u64 {
        self.targets.mine().limits().payload_bytes
    }

    /// Whether a payload of this size is within the limit: for callers that have yet to read or to copy it.
    ///
    /// # Errors
    /// [`CallError::Limit`] when it is too large; the call is over then, and counted.
    pub fn admit(&self, payload_bytes: usize) -> Result<(), CallError> {
        self.targets.mine().admit_payload(payload_bytes)
    }

    /// Prepares a call; [`Task::drive`] runs it.
    ///
    /// # Errors
    /// [`CallError::Limit`] when the payload is too large or the call too deeply nested.
    pub fn start(&self, request: Request) -> Result<Task, CallError> {
        let target = self.targets.mine();
        Task::start(target, request, target.entry.start)
    }

    /// Prepares a replay of a call that was recorded of the same module, or of another version of it. Its reply is a report as JSON: what
    /// was recorded, what came of it now, and where they parted. The metrics don't count it.
    ///
    /// The task fails, without a report, with [`CallError::Image`] when the recording begins with an image of another module, with
    /// [`CallError::InvalidOption`] when it was redacted, and as calls do at their limits of time.
    #[must_use]
    pub fn replay(&self, recording: Recording, how: How) -> Task {
        let target = self.targets.mine();
        let replay = Replay::of(recording, how);
        Task::start_replay(target, |call| (target.entry.replay)(call, replay, None))
    }

    /// The same of a file with one, which is in the account before it is read.
    ///
    /// # Errors
    /// [`CallError::InvalidOption`] when it is none; or as where there is no room for the memory of an instance.
    pub fn replay_file(&self, file: Bytes, how: How) -> Result<Task, CallError> {
        let invalid = |damaged: Damaged| CallError::InvalidOption { message: damaged.to_string() };
        let target = self.targets.mine();
        let mut share = target.hold_recording(Recording::takes(&file).map_err(invalid)?)?;
        let mut replay = Replay::of(Recording::read(file).map_err(invalid)?, how);
        // Lists take half of what they have while they grow.
        share.lower_to(replay.bytes);
        replay.share = Some(Box::new(share));
        Ok(Task::start_replay(target, |call| (target.entry.replay)(call, replay, None)))
    }

    /// The same with the module that was called, for as long as who watches it likes.
    pub(crate) fn watched(&self, recording: Recording, watch: Arc<dyn Watch>) -> Task {
        let target = self.targets.mine();
        let replay = Replay::of(recording, How::Exactly);
        let task = Task::start_replay(target, |call| (target.entry.replay)(call, replay, Some(watch)));
        task.without_deadline()
    }

    /// By what its module was compiled, and for what: a recording of the same has the same code.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.module().made()
    }

    /// Starts a program: the task of its first process, which runs until the program ends it, or its driver.
    ///
    /// # Errors
    /// [`CallError::NoProgram`] when its ABI has calls alone, [`CallError::InvalidOption`] when it has no such entry, and
    /// [`CallError::Overloaded`] when its limits allow no process.
    pub fn start_process(&self, options: ProcessOptions) -> Result<Task, CallError> {
        process::start(self.targets.mine(), options)
    }

    /// A part of a program that began on another node, without processes yet; `keeper` has a number in it.
    #[must_use]
    pub fn part(&self, part: Part, keeper: Address) -> Option<ProcessRef> {
        arrival::part(self.targets.mine(), part, keeper)
    }

    /// Makes a process in such a part.
    ///
    /// # Errors
    /// A text, when it can't have one more, or not this one.
    pub fn arrive(&self, part: &ProcessRef, away: Away) -> Result<ProcessRef, String> {
        arrival::arrive(self.targets.mine(), part, away)
    }

    /// Has the first process of a program go on as this version: as a new instance in its place, with its mailbox and its number.
    /// Drive it next; an answer is for one that goes on as it is.
    ///
    /// # Errors
    /// Why it does: it is this version already, say.
    pub fn take_over(&self, task: &mut Task) -> Result<(), String> {
        process::take_over(self.targets.mine(), task)
    }

    /// Goes on with a process that was packed, by bytes of [`Task::packed`]: as one of a program of its own, with these options, but for
    /// what the process began with. Those of its module's functions alone are taken.
    ///
    /// # Errors
    /// [`CallError::Image`] when they are damaged, or of another module, or nothing that could go on here; [`CallError::Limit`] when they have
    /// more messages than a process may have, and what [`Function::start_process`] says.
    pub fn thaw(&self, packed: Bytes, options: ProcessOptions) -> Result<Task, CallError> {
        process::packed::thaw(self.targets.mine(), packed, options)
    }

    /// Gives a process that asked for it this function, to make processes of.
    ///
    /// # Errors
    /// That its program has no room for the code.
    pub fn give_to(&self, task: &Task) -> Result<(), String> {
        task.give_module(Arc::clone(self.targets.mine()))
    }

    /// What its code takes.
    pub(crate) fn code(&self) -> &CodeShare {
        &self.targets.mine().code
    }

    /// Prepares a trial: makes one instance, runs its start functions, drops it, and prints what start functions printed when
    /// the snapshot was taken.
    #[must_use]
    pub fn start_trial(&self) -> Task {
        Task::start_trial(self.targets.mine())
    }

    /// An instance for a caller to keep, whichever kind of instances the function has. It is made for its first call.
    ///
    /// # Errors
    /// [`CompileError::Config`] when instances of the function's module serve one call, or can't be called by what they export.
    pub fn instance(&self) -> Result<OwnedInstance, CompileError> {
        let target = self.targets.mine();
        let refusal = match &target.module.abi {
            abi if !abi.reusable => {
                "the program runs once and ends, so its instances can't be kept: call it, or start it as a process \
                 (`Tidepool.Process`)"
            }
            abi if abi.takes == Takes::Requests => {
                "the function handles requests of HTTP, so an instance of it has no export to call: ask for \
                 /call/NAME/... or one of its routes, by HTTP, and deploy it with `instances: {:warm, COUNT}` where its \
                 instances are to be kept from one request to the next"
            }
            _ => return Ok(OwnedInstance::new(target, None)),
        };
        Err(CompileError::Config { message: refusal.into() })
    }

    /// An instance for a caller to keep, which begins with an image of one of the same module. It is made for its first call, which fails
    /// with [`CallError::Image`] when the image is damaged; the next call tries again. Until it has a place the image counts as its
    /// function's memory on the host.
    ///
    /// # Errors
    /// [`CallError::Image`] when the image is another module's, or the function's module was not compiled as that of actors;
    /// [`CallError::Quota`] and [`CallError::Overloaded`] when there is no room for the image.
    pub fn wake(&self, image: Bytes) -> Result<OwnedInstance, CallError> {
        let room = self.image_room(image.len())?;
        self.wake_in(image, room)
    }

    /// The same of an image that has room already.
    ///
    /// # Errors
    /// As for [`Function::wake`].
    pub fn wake_in(&self, image: Bytes, room: ImageRoom) -> Result<OwnedInstance, CallError> {
        let target = self.targets.mine();
        let Some(actor) = &target.module.actor else {
            let message = "the function was not deployed as an actor, so its instances have no images".into();
            return Err(CallError::Image { message });
        };
        // It may be somewhat longer than who knew of it said.
        let ImageRoom(mut room) = room;
        if !room.raise_to(image.len()) {
            drop(room);
            room = target.hold_image(image.len())?;
        }
        let image = Image::of(image, &actor.shape.module)?;
        Ok(OwnedInstance::new(target, Some((image, room))))
    }

    /// Room for an image of so many bytes, for who is about to read one.
    ///
    /// # Errors
    /// As for [`Function::wake`]: [`CallError::Quota`] and [`CallError::Overloaded`].
    pub fn image_room(&self, bytes: usize) -> Result<ImageRoom, CallError> {
        self.targets.mine().hold_image(bytes).map(ImageRoom)
    }

    /// Drops the idle instances and keeps none from now on: a newer version has replaced this one, and calls in flight are the
    /// last.
    pub fn retire(&self) {
        if let Some(pool) = &self.targets.mine().pool {
            pool.close();
        }
    }

    /// The version, as it was deployed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.targets.mine().function.version
    }

    /// Idle warm instances.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.targets.mine().pool.as_ref().map_or(0, |pool| pool.idle())
    }

    /// Whether the next call is likely to be so short that a thread which serves connections may drive its first slice, with
    /// [`Task::drive_inline`]. Each thread has its own estimate.
    #[must_use]
    pub fn suits_inline(&self) -> bool {
        self.targets.mine().inline_estimate.suits_inline()
    }
}

/// A function's own cap, if it is below that of the node.
fn capped<T: PartialOrd>(own: T, all: T) -> Option<T> {
    (own < all).then_some(own)
}
