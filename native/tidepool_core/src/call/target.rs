//! A call target: a function as its calls hold it, with its instances and limits.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::code_share::CodeShare;
use super::held::Held;
use super::node::{Node, Places};
use super::sockets::Sockets;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::{Limit, Limits};
use crate::base::request::{Payload, Reply, Request};
use crate::image::reader::Image;
use crate::instance::admission::{FunctionCap, Idle, Permit, Permits, counted};
use crate::instance::live::Instance;
use crate::instance::namespace::Namespace;
use crate::instance::warm_pool::{Pools, WarmPool};
use crate::instance::watch::Watch;
use crate::metrics::counters::Outcome;
use crate::metrics::failure::Failure;
use crate::module::compiled::CompiledModule;
use crate::recording::report::Replay;
use crate::recording::tape::Tape;
use crate::recording::taped::Whence;
use crate::slice::inline_estimate::InlineEstimate;
use crate::store::context::FunctionContext;
use crate::store::host_channel::{CallRef, HostChannel};
use crate::store::host_share::HostShare;

/// A call of a function.
pub(crate) type Call = CallRef<Arc<Target>>;

pub(crate) type CallBody = dyn Future<Output = Result<Reply, CallError>> + Send;
/// The whole of a call, from getting an instance to giving it back.
pub(crate) type CallFuture = Pin<Box<CallBody>>;

/// How calls of an ABI begin. A function has its ABI's entry from its making on.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// With a new instance, or one of the pool's.
    pub(crate) start: fn(Call) -> CallFuture,
    /// See [`Abi::probe`](crate::abi::contract::Abi::probe).
    pub(crate) probe: fn() -> Option<Payload>,
    /// As a trial; a probe is what it serves.
    pub(crate) trial: fn(Call) -> CallFuture,
    /// With an instance that its owner keeps.
    pub(crate) start_held: fn(Call, Arc<Held>) -> CallFuture,
    /// Again, as it was recorded.
    pub(crate) replay: fn(Call, Replay, Option<Arc<dyn Watch>>) -> CallFuture,
}

/// The target of calls: one function version.
pub(crate) struct Target {
    pub(crate) node: Arc<Node>,
    pub(crate) module: Arc<CompiledModule>,
    pub(crate) function: Arc<FunctionContext>,
    pub(crate) entry: Entry,
    pub(crate) pool: Option<Arc<WarmPool>>,
    pub(crate) cap: Option<Arc<FunctionCap>>,
    /// What the functions of its namespace share, where they may have so much together.
    pub(crate) namespace: Option<Arc<Namespace>>,
    pub(crate) sockets: Sockets,
    pub(crate) code: Arc<CodeShare>,
    pub(crate) inline_estimate: InlineEstimate,
}

impl Target {
    pub(crate) fn limits(&self) -> &Limits {
        &self.function.limits
    }

    pub(super) fn places(&self) -> &Places {
        self.node.places(self.module.engine)
    }

    /// The idle instances of its engine.
    pub(crate) fn pools(&self) -> &Pools {
        &self.places().pools
    }

    /// It, as a module that a process of `owner` has brought: its instances have no memory but the owner's, and print no more lines.
    pub(super) fn brought_by(&self, owner: &Target) -> Arc<Target> {
        let function = FunctionContext {
            own_memory: owner.function.own_memory.clone(),
            own_host_memory: owner.function.own_host_memory.clone(),
            budget: Arc::clone(&owner.function.budget),
            ..FunctionContext::clone(&self.function)
        };
        Arc::new(Target {
            node: Arc::clone(&self.node),
            module: Arc::clone(&self.module),
            function: Arc::new(function),
            entry: self.entry,
            pool: None,
            cap: self.cap.clone(),
            namespace: self.namespace.clone(),
            sockets: self.sockets.apart(),
            code: Arc::clone(&self.code),
            inline_estimate: InlineEstimate::default(),
        })
    }

    /// Whether the payload is of the kind that the function takes, and within the limit.
    ///
    /// # Errors
    /// [`CallError::Arguments`] when it takes bytes, and [`CallError::Limit`] when it is too large; the call is over then, and counted.
    pub(super) fn accept(&self, payload: &Payload) -> Result<(), CallError> {
        if let Some(why) = self.module.abi.takes.refusal(payload) {
            let message = format!("the function's ABI is {}: {why}", self.module.abi.name);
            let error = CallError::Arguments { path: String::new(), message };
            self.refused(&error);
            return Err(error);
        }
        self.admit_payload(payload.size())
    }

    /// Whether a payload of this size is within the limit.
    ///
    /// # Errors
    /// [`CallError::Limit`] when it is too large; the call is over then, and counted.
    pub(crate) fn admit_payload(&self, bytes: usize) -> Result<(), CallError> {
        let allowed = self.limits().payload_bytes;
        if !Limits::fits(bytes, allowed) {
            return Err(self.exceeded(Limit::Payload, allowed));
        }
        Ok(())
    }

    /// Whether a call may begin, for all that its namespace has had of late.
    ///
    /// # Errors
    /// [`CallError::Quota`]; the call is over then, and counted.
    pub(super) fn begin(&self) -> Result<(), CallError> {
        let Some(namespace) = &self.namespace else { return Ok(()) };
        namespace.begin().inspect_err(|error| self.refused(error))
    }

    /// Ends a call that exceeds a limit before it begins.
    pub(super) fn exceeded(&self, limit: Limit, allowed: u64) -> CallError {
        let error = CallError::limit(limit, allowed);
        self.refused(&error);
        error
    }

    /// Counts a call that was refused before it began.
    fn refused(&self, error: &CallError) {
        self.function.stats.record(Outcome::from(error), Duration::ZERO, Duration::ZERO);
        self.keep_failure(Failure::new(self.function.version, error));
    }

    /// Keeps why a call failed, for whoever looks later; of a process it is not said what it was asked.
    #[cold]
    pub(super) fn failed(&self, request: Option<&Request>, error: &CallError, is_aborted: bool) {
        let failure = Failure { is_aborted, ..Failure::new(self.function.version, error) };
        self.keep_failure(match request {
            Some(request) => {
                let payload = self.function.keep_payloads.then(|| request.payload.bytes());
                failure.of(&request.operation, payload)
            }
            None => failure,
        });
    }

    fn keep_failure(&self, failure: Failure) {
        self.node.stats.failures.push(&self.function.name, failure.bytes(), failure, || self.function.is_removed());
    }

    /// A place among the calls that the function may have at once, where there is a limit.
    pub(super) async fn place(&self, nested: bool, channel: &HostChannel) -> Result<Option<Permit>, CallError> {
        match &self.cap {
            Some(cap) => Box::pin(cap.admit(nested, channel)).await.map(Some),
            None => Ok(None),
        }
    }

    /// The right to one more live instance.
    pub(super) async fn admit(&self, nested: bool, channel: &HostChannel) -> Result<Permits, CallError> {
        // While it waits here it holds nothing that functions of others could have.
        let _namespace = match &self.namespace {
            Some(namespace) => {
                let turn = namespace.admit(self.module.places, nested, channel);
                Box::pin(counted(turn, self.function.stats.function.queued_at_cap())).await?
            }
            None => None,
        };
        let places = self.places();
        let _engine = places.admission.admit(self.module.places, nested, &places.pools, channel).await?;
        self.make_room()?;
        Ok(Permits { _engine, _namespace })
    }

    /// Says that an instance is idle now: calls that wait for one would wait on.
    pub(super) fn relieve(&self) {
        let places = self.places();
        if places.admission.queued() > 0 {
            places.pools.evict();
        }
        if let Some(namespace) = &self.namespace {
            namespace.relieve();
        }
    }

    /// Makes room for the memory of a new instance, by evicting idle ones if there is none.
    fn make_room(&self) -> Result<(), CallError> {
        let bytes = self.module.initial_bytes();
        let overloaded = |whose: &str, allowed: u64| {
            let message = format!("{whose} have the {allowed} bytes of linear memory that they may have together");
            Err(CallError::Overloaded { message })
        };
        if let Some(own) = &self.function.own_memory
            && !own.has(bytes)
        {
            return overloaded("the instances of this function", own.limit());
        }
        if let Some(namespace) = &self.namespace {
            namespace.make_room(bytes)?;
        }
        if self.node.make_room(bytes) {
            return Ok(());
        }
        // For those after it.
        self.node.ask_owner();
        overloaded("the instances of this node", self.node.memory.limit())
    }

    /// A new instance, whose start functions have run.
    pub(super) async fn instance(
        &self,
        nested: bool,
        channel: &HostChannel,
        tape: impl FnOnce() -> Option<Arc<Tape>>,
    ) -> Result<Instance, CallError> {
        let permits = self.admit(nested, channel).await?;
        // What it takes is nobody's while the call waits.
        let tape = tape();
        let prepare = |state: &mut State| {
            state.set_tape(tape);
            self.sockets.give(state);
        };
        Instance::new(&self.module, &self.function, permits, prepare).await
    }

    /// The tape of a new instance, if calls of the function are recorded.
    pub(super) fn tape(&self, whence: impl FnOnce() -> Whence) -> Option<Arc<Tape>> {
        self.function.record.as_ref().filter(|policy| policy.is_on()).map(|policy| {
            let share = Box::new(HostShare::new(&self.function));
            Arc::new(Tape::recording(whence(), Some(share), Arc::clone(policy.owner())))
        })
    }

    /// A new instance for a trial. It counts in no quota of its namespace, and is one of those set aside where the node has no other, of
    /// which its namespace has half: so no calls keep a version from being deployed.
    pub(super) async fn on_trial(&self, channel: &HostChannel) -> Result<Instance, CallError> {
        let mut of_namespace = match &self.namespace {
            Some(namespace) => Some(namespace.trials.admit(1, false, &(), channel).await?),
            None => None,
        };
        let (places, memory, set_aside) = (self.places(), &self.node.memory, &self.node.trial_memory);
        let mut function = FunctionContext::clone(&self.function);
        function.namespace_memory = None;
        // All that its start functions may use.
        let needed = self.limits().memory_bytes.saturating_add(self.module.record_bytes);
        let spare = if memory.has(needed) { places.admission.try_admit(self.module.places) } else { None };
        let engine = match spare {
            Some(permit) => permit,
            None => {
                if let Some(namespace) = &self.namespace {
                    of_namespace = Some(namespace.set_aside.admit(self.module.places, false, &(), channel).await?);
                }
                places.trials.admit(self.module.places, false, &(), channel).await?
            }
        };
        if !memory.has(needed) && (set_aside.has(needed) || !memory.has(self.module.initial_bytes())) {
            function.node_memory = Arc::clone(set_aside);
        }
        let permits = Permits { _engine: engine, _namespace: of_namespace };
        Instance::new(&self.module, &Arc::new(function), permits, |_| {}).await
    }

    /// Room on the host for an image of so many bytes, whose instance has no place yet.
    ///
    /// # Errors
    /// As where there is none for the memory of an instance.
    pub(crate) fn hold_image(&self, bytes: usize) -> Result<HostShare, CallError> {
        let mut share = HostShare::new(&self.function);
        if share.raise_to(bytes) {
            return Ok(share);
        }
        let allowed = self.function.host_limit();
        Err(self.without_room(bytes, || {
            format!("images that wait for an instance have no room within the {allowed} bytes that there are")
        }))
    }

    /// Room on the host for a recording while it is replayed. It is of its namespace's memory and the node's: the function's own limit is
    /// that of what was recorded, which took less on its tape.
    ///
    /// # Errors
    /// As where there is none for the memory of an instance.
    pub(crate) fn hold_recording(&self, bytes: usize) -> Result<HostShare, CallError> {
        let mut function = FunctionContext::clone(&self.function);
        function.own_host_memory = None;
        let mut share = HostShare::new(&Arc::new(function));
        if share.raise_to(bytes) {
            return Ok(share);
        }
        Err(self.without_room(bytes, || {
            format!("a replay of the recording takes {bytes} bytes, for which there is no room now: try again later")
        }))
    }

    /// Why there is no room on the host for so many bytes: a quota, or what `message` says.
    fn without_room(&self, bytes: usize, message: impl FnOnce() -> String) -> CallError {
        let lacking = u64::try_from(bytes).unwrap_or(u64::MAX);
        if let Some(refusal) = self.namespace.as_ref().and_then(|namespace| namespace.lacking(lacking)) {
            return refusal;
        }
        // For those after it.
        self.node.ask_owner();
        CallError::Overloaded { message: message() }
    }

    /// A new instance that begins with an image, and so does its tape. `admitted` is called when it has its place.
    pub(super) async fn woken(
        &self,
        image: &Image,
        nested: bool,
        channel: &HostChannel,
        admitted: impl FnOnce(),
    ) -> Result<Instance, CallError> {
        let permits = self.admit(nested, channel).await?;
        admitted();
        let tape = self.tape(|| Whence::Image(image.shared()));
        Instance::woken(&self.module, &self.function, permits, image, tape).await
    }
}
