//! A guest that has left its stack, without an instance: what of it goes on in another one.

use std::time::{Duration, Instant};

use wasmtime::Store;

use super::wake::{self, Imaged};
use crate::abi::begun::begun;
use crate::abi::slots::{Slots, State};
use crate::base::error::CallError;
use crate::image::chain::Last;
use crate::image::reader::Image;
use crate::module::compiled::CompiledModule;
use crate::recording::outside::packed::{Kept, Mail, Packed};
use crate::rewrite::unwind::LAYOUT;
use crate::store::data::Belongings;
use crate::store::frames::{Stack, Stays};

/// A guest between two instances: the image of the one that it had, and what was in its store.
pub(crate) struct Frozen {
    pub(super) image: Image,
    stack: Stack,
    belongings: Belongings<Slots>,
    /// When its clock was read for the image.
    left_at: Instant,
    /// The most memory that it may have, and what it has, in bytes.
    pub(super) most_memory: u64,
    pub(crate) memory: u64,
}

/// A guest that was packed, but for its place in a program.
pub(crate) struct Unpacked {
    pub(crate) image: Image,
    pub(crate) stack: Stack,
    pub(crate) kept: Kept,
    pub(crate) most_memory: u64,
    /// From when on its clock goes on.
    pub(crate) began: Instant,
}

impl Frozen {
    /// Takes from a store what is in it. The instance is not to be used any more.
    ///
    /// # Errors
    /// When the guest has not left its stack.
    pub(super) fn of(store: &mut Store<State>, module: &CompiledModule) -> Result<Self, CallError> {
        let state = store.data_mut();
        let (most_memory, memory) = (state.meter.memory_bytes(), state.meter.memory_used as u64);
        let stack = state.frames.as_deref_mut().and_then(|frames| frames.take()).filter(Stack::is_whole);
        let (Some(stack), Some(imaged)) = (stack, module.imaged()) else {
            return Err(internal("the guest has not left all of its stack"));
        };
        // Not later than the image's clock: by that no wait may be shorter than was asked for.
        let left_at = Instant::now();
        let Imaged::New(image) = wake::image(store, module, &mut Last::default(), usize::MAX)? else {
            return Err(internal("there is no image of the guest"));
        };
        let image = Image::of(image.into(), &imaged.shape.module)?;
        let belongings = store.data_mut().take_belongings();
        Ok(Frozen { image, stack, belongings, left_at, most_memory, memory })
    }

    /// All of it but for its place in its program and what came to it, and when it left its stack, which all times are counted from.
    ///
    /// # Errors
    /// [`Stays::Holds`], which says what it can't take along.
    pub(crate) fn packed(&self) -> Result<(Packed, Instant), Stays> {
        let abi = self.belongings.abi();
        let holds = |what| Stays::Holds { what };
        let kept = abi.kept().map_err(holds)?;
        let guest = abi.guest.as_ref().ok_or(Stays::Fixed)?;
        let wait = self.stack.wait();
        let packed = Packed {
            layout: LAYOUT,
            begun: begun(guest, &[], None).ok_or(Stays::Fixed)?,
            entry: guest.process.entry.clone(),
            module: wait.import.module.into(),
            import: wait.import.name.into(),
            left_ns: wait.until.map(|until| nanoseconds(until.saturating_duration_since(self.left_at))),
            most_memory: self.most_memory,
            cpu_ns: 0,
            groups: self.stack.groups().to_vec(),
            kept,
            mailbox: Mail::default(),
            image: self.image.shared(),
        };
        Ok((packed, self.left_at))
    }

    /// Puts what was in its store into that of a new instance, which has the memory and globals of its image. The guest is to enter the
    /// stack.
    pub(super) fn put(self, store: &mut Store<State>) -> Stack {
        store.data_mut().put_belongings(self.belongings);
        self.stack
    }
}

/// A time as packed processes have it.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Are frames laid out in this way here?
pub(crate) fn is_laid_out_so(layout: u32) -> bool {
    layout == LAYOUT
}

fn internal(what: &str) -> CallError {
    CallError::Internal { message: what.into() }
}
