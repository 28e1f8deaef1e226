//! What the functions of a namespace have together, where there are quotas on that.

use std::sync::Arc;
use std::time::Instant;

use super::admission::{Admission, Idle, Permit};
use super::call_rate::CallRate;
use super::warm_pool::Pools;
use crate::base::config::NamespaceConfig;
use crate::base::error::CallError;
use crate::base::fair_share::{Held, HeldByEngine, NetworkHeld};
use crate::base::limits::{Quota, TRIALS};
use crate::store::host_channel::{HostChannel, Wait};
use crate::store::memory_budget::MemoryBudget;

/// A namespace with quotas. Functions of others have none of this, and pay nothing for it.
pub(crate) struct Namespace {
    name: String,
    instances: Option<Admission>,
    /// Trials, which are in no other quota.
    pub(crate) trials: Admission,
    /// Those of them that have what is set aside for trials: half of that, so that they leave others as much.
    pub(crate) set_aside: Admission,
    /// Those of its functions on both engines.
    pub(crate) pools: Pools,
    pub(crate) memory: Option<Arc<MemoryBudget>>,
    calls: Option<CallRate>,
    /// Bytes that the code of its functions takes.
    pub(crate) code: Arc<Held>,
    /// Stacks that instances have beside their own, and what these have of the network.
    pub(crate) stacks: HeldByEngine,
    pub(crate) network: NetworkHeld,
}

impl Namespace {
    pub(crate) fn new(config: &NamespaceConfig) -> Self {
        Namespace {
            name: config.name.clone(),
            instances: config.instances.map(|instances| Admission::new(instances, config.queue, Wait::Namespace)),
            trials: Admission::new(TRIALS, usize::MAX, Wait::Node),
            set_aside: Admission::new(TRIALS / 2, usize::MAX, Wait::Node),
            pools: Pools::default(),
            memory: config.memory_bytes.map(|bytes| Arc::new(MemoryBudget::new(bytes))),
            calls: config.calls_per_s.map(|calls| CallRate::new(calls, Instant::now())),
            code: Arc::default(),
            stacks: HeldByEngine::default(),
            network: NetworkHeld::default(),
        }
    }

    /// Lets a call begin.
    ///
    /// # Errors
    /// [`CallError::Quota`] when it is one too many within a second.
    pub(crate) fn begin(&self) -> Result<(), CallError> {
        let Some(rate) = &self.calls else { return Ok(()) };
        rate.take(Instant::now()).map_err(|wait| {
            let (most, ms) = (rate.calls_per_s, wait.as_millis().max(1));
            let message =
                format!("{} may have {most} calls a second, and has had them: try again in {ms} ms", self.who());
            self.refusal(Quota::Calls, u64::from(most), message)
        })
    }

    /// The right to one more live instance, where it takes one, of this many places: at once, for idle ones of the namespace, or after a
    /// wait in the queue.
    ///
    /// # Errors
    /// [`CallError::Quota`] when the queue is full, or for a nested call when there is no room.
    pub(crate) async fn admit(
        &self,
        places: u32,
        nested: bool,
        channel: &HostChannel,
    ) -> Result<Option<Permit>, CallError> {
        let Some(instances) = &self.instances else { return Ok(None) };
        let admitted = instances.admit(places, nested, &self.pools, channel).await;
        admitted.map(Some).map_err(|error| match error {
            CallError::Overloaded { .. } if nested => self.full(places, "a nested call does not wait for one"),
            CallError::Overloaded { .. } => self.full(places, "enough calls wait already"),
            other => other,
        })
    }

    /// What a call is told that waits for an instance of the namespace's when its time is over.
    pub(crate) fn late(&self, places: u32) -> CallError {
        self.full(places, "none became free within the call's time limit")
    }

    fn full(&self, places: u32, why: &str) -> CallError {
        let most = self.instances.as_ref().map_or(0, Admission::max_instances);
        let whose = format!("that {} may have", self.who());
        let shortage = self.instances.as_ref().map_or_else(String::new, |it| it.shortage(places, &whose));
        let message = format!("{shortage}, and {why}");
        self.refusal(Quota::Instances, u64::try_from(most).unwrap_or(u64::MAX), message)
    }

    /// Makes room for the memory of a new instance, by evicting idle ones of the namespace if there is none.
    ///
    /// # Errors
    /// [`CallError::Quota`] when none is idle.
    pub(crate) fn make_room(&self, bytes: u64) -> Result<(), CallError> {
        let Some(memory) = &self.memory else { return Ok(()) };
        while !memory.has(bytes) {
            if self.pools.evict_now() == 0 {
                // For those after it.
                self.pools.evict();
                return Err(self.out_of(memory));
            }
        }
        Ok(())
    }

    /// That there are not so many bytes left of its memory, if there are not.
    pub(crate) fn lacking(&self, bytes: u64) -> Option<CallError> {
        self.memory.as_deref().filter(|memory| !memory.has(bytes)).map(|memory| self.out_of(memory))
    }

    fn out_of(&self, memory: &MemoryBudget) -> CallError {
        let (allowed, who) = (memory.limit(), self.who());
        let message = format!("the instances of {who} have the {allowed} bytes that they may have together");
        self.refusal(Quota::Memory, allowed, message)
    }

    /// Calls that wait for an instance of the namespace's would wait on while one is idle.
    pub(crate) fn relieve(&self) {
        if self.queued() > 0 {
            self.pools.evict();
        }
    }

    /// Calls that wait for an instance.
    pub(crate) fn queued(&self) -> usize {
        self.instances.as_ref().map_or(0, Admission::queued)
    }

    fn who(&self) -> String {
        format!("the functions of {}/*", self.name)
    }

    fn refusal(&self, quota: Quota, allowed: u64, message: String) -> CallError {
        CallError::Quota { namespace: self.name.clone(), quota, allowed, message }
    }
}
