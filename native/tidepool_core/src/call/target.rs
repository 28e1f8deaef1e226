//! A call target: a function as its calls hold it, with its instances and limits.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::node::{Node, Places};
use crate::base::error::CallError;
use crate::base::limits::{Limit, Limits};
use crate::base::request::Request;
use crate::image::reader::Image;
use crate::instance::admission::{FunctionCap, Permit};
use crate::instance::live::Instance;
use crate::instance::warm_pool::WarmPool;
use crate::metrics::counters::Outcome;
use crate::module::compiled::CompiledModule;
use crate::slice::inline_estimate::InlineEstimate;
use crate::store::context::FunctionContext;
use crate::store::host_channel::{CallRef, HostChannel};

/// A call of a function.
pub(crate) type Call = CallRef<Arc<Target>>;

pub(crate) type CallBody = dyn Future<Output = Result<Vec<u8>, CallError>> + Send;
/// The whole of a call, from getting an instance to giving it back.
pub(crate) type CallFuture = Pin<Box<CallBody>>;

/// How calls of an ABI begin. A function has its ABI's entry from its making on.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// With a new instance, or one of the pool's.
    pub(crate) start: fn(Call, Request) -> CallFuture,
    /// With an instance that its owner keeps.
    pub(crate) start_held: fn(Call, Request, Arc<Held>) -> CallFuture,
}

/// The target of calls: one function version.
pub(crate) struct Target {
    pub(crate) node: Arc<Node>,
    pub(crate) module: Arc<CompiledModule>,
    pub(crate) function: Arc<FunctionContext>,
    pub(crate) entry: Entry,
    pub(crate) pool: Option<Arc<WarmPool>>,
    pub(crate) cap: Option<Arc<FunctionCap>>,
    pub(crate) inline_estimate: InlineEstimate,
}

impl Target {
    pub(crate) fn limits(&self) -> &Limits {
        &self.function.limits
    }

    pub(super) fn places(&self) -> &Places {
        self.node.places(self.module.engine)
    }

    /// Whether a payload of this size is within the limit.
    ///
    /// # Errors
    /// [`CallError::Limit`] when it is too large; the call is over then, and counted.
    pub(crate) fn admit_payload(&self, bytes: usize) -> Result<(), CallError> {
        let allowed = self.limits().payload_bytes;
        if Limits::fits(bytes, allowed) { Ok(()) } else { Err(self.exceeded(Limit::Payload, allowed)) }
    }

    /// Ends a call that exceeds a limit before it begins.
    pub(super) fn exceeded(&self, limit: Limit, allowed: u64) -> CallError {
        self.function.stats.record(Outcome::Limit, Duration::ZERO, Duration::ZERO);
        CallError::limit(limit, allowed)
    }

    /// A place among the calls that the function may have at once, where there is a limit.
    pub(super) async fn place(&self, nested: bool, channel: &HostChannel) -> Result<Option<Permit>, CallError> {
        match &self.cap {
            Some(cap) => Box::pin(cap.admit(nested, channel)).await.map(Some),
            None => Ok(None),
        }
    }

    /// The right to one more live instance.
    pub(super) async fn admit(&self, nested: bool, channel: &HostChannel) -> Result<Permit, CallError> {
        let places = self.places();
        let permit = places.admission.admit(nested, &places.pools, channel).await?;
        self.make_room()?;
        Ok(permit)
    }

    /// Makes room for the memory of a new instance, by evicting idle ones if there is none.
    fn make_room(&self) -> Result<(), CallError> {
        let bytes = self.module.initial_memory_bytes;
        let overloaded = |whose: &str, allowed: u64| {
            let message = format!("{whose} have the {allowed} bytes of linear memory that they may have together");
            Err(CallError::Overloaded { message })
        };
        if let Some(own) = &self.function.own_memory
            && !own.has(bytes)
        {
            return overloaded("the instances of this function", own.limit());
        }
        let memory = &self.function.node_memory;
        while !memory.has(bytes) {
            if !self.node.evict_now() {
                return overloaded("the instances of this node", memory.limit());
            }
        }
        Ok(())
    }

    /// A new instance, whose start functions have run.
    pub(super) async fn instance(&self, nested: bool, channel: &HostChannel) -> Result<Instance, CallError> {
        let permit = self.admit(nested, channel).await?;
        Instance::new(&self.module, &self.function, permit, |_| {}).await
    }

    /// A new instance that begins with an image.
    pub(super) async fn woken(
        &self,
        image: &Image,
        nested: bool,
        channel: &HostChannel,
    ) -> Result<Instance, CallError> {
        let permit = self.admit(nested, channel).await?;
        Instance::woken(&self.module, &self.function, permit, image).await
    }
}
