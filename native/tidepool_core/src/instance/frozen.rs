//! A guest that has left its stack, without an instance: what of it goes on in another one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::Store;

use super::seen::Imaged;
use super::wake;
use crate::abi::begun::begun;
use crate::abi::slots::{Slots, State};
use crate::base::error::CallError;
use crate::image::reader::Image;
use crate::module::compiled::CompiledModule;
use crate::os::drop_thread::{DropThread, is_large};
use crate::recording::outside::packed::{Kept, Mail, Packed};
use crate::rewrite::unwind::LAYOUT;
use crate::store::data::Belongings;
use crate::store::frames::{Stack, Stays};

/// A guest between two instances: the image of the one that it had, and what was in its store.
pub(crate) struct Frozen {
    pub(super) image: Image,
    stack: Stack,
    carried: Carried,
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
        let Imaged::New(image) = wake::whole(store, module, usize::MAX)? else {
            return Err(internal("there is no image of the guest"));
        };
        let image = Image::of(image, &imaged.shape.module)?;
        // The engine has that again when the store is gone.
        store.data_mut().abi.give_stack_back();
        let belongings = Some(Box::new(store.data_mut().take_belongings()));
        let drop_thread = store.data().function.drop_thread.clone();
        let carried = Carried { belongings, image: image.shared(), drop_thread };
        Ok(Frozen { image, stack, carried, left_at, most_memory, memory })
    }

    /// All of it but for its place in its program and what came to it, and when it left its stack, which all times are counted from.
    ///
    /// # Errors
    /// [`Stays::Holds`], which says what it can't take along.
    pub(crate) fn packed(&self) -> Result<(Packed, Instant), Stays> {
        let holds = |what| Stays::Holds { what };
        let abi = self.carried.belongings.as_ref().ok_or(Stays::Fixed)?.abi();
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
    pub(super) fn put(mut self, store: &mut Store<State>) -> Stack {
        if let Some(belongings) = self.carried.belongings.take() {
            store.data_mut().put_belongings(*belongings);
        }
        self.stack
    }
}

/// What a guest takes along, until it has it. Where that is much, or its image is large, it is dropped on the drop thread, as instances are.
struct Carried {
    belongings: Option<Box<Belongings<Slots>>>,
    /// The image's bytes: those that are dropped last.
    image: Bytes,
    drop_thread: DropThread,
}

impl Drop for Carried {
    fn drop(&mut self) {
        let (mut belongings, image) = (self.belongings.take(), std::mem::take(&mut self.image));
        let things = || belongings.as_mut().map_or(0, |belongings| belongings.abi_mut().things());
        if is_large(image.len(), things) {
            if let Some(belongings) = &mut belongings {
                belongings.leave_call();
            }
            self.drop_thread.drop_there(Box::new((belongings, image)));
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;
    use crate::base::request::Request;
    use crate::store::context::FunctionContext;
    use crate::store::host_channel::CallRef;

    /// Tells which thread it is dropped on.
    struct Told(Sender<Option<String>>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(thread::current().name().map(str::to_owned)).unwrap();
        }
    }

    /// Keeps the thread that it is dropped on until it is told, or nobody can tell it.
    struct Keeps(std::sync::Mutex<Receiver<()>>);

    impl Drop for Keeps {
        fn drop(&mut self) {
            let _over = self.0.lock().unwrap().recv();
        }
    }

    #[test]
    fn a_guest_without_an_instance_has_left_its_call_before_anything_of_it_goes_to_another_thread() {
        let (operation, payload) = (b""[..].into(), Vec::new().into());
        let call = CallRef::new((), Request { operation, payload, depth: 1, timeout: Duration::ZERO });
        let mut state = State::new(Arc::new(FunctionContext::detached()));
        state.call = Some(call.for_guest());
        let belongings = Some(Box::new(state.take_belongings()));
        let (drop_thread, (tell, told)) = (DropThread::spawn().unwrap(), channel());
        drop_thread.drop_there(Box::new(Keeps(std::sync::Mutex::new(told))));
        assert_eq!(call.references(), 2);
        drop(Carried { belongings, image: vec![0; 8 << 20].into(), drop_thread });
        assert_eq!(call.references(), 1);
        drop(tell);
    }

    #[test]
    fn what_a_guest_without_an_instance_has_is_dropped_on_the_drop_thread_unless_it_is_little() {
        let own = thread::current().name().map(str::to_owned);
        let there = Some("tidepool-drop".into());
        for (fills, image, thread) in [(false, 10, own), (true, 10, there.clone()), (false, 8 << 20, there)] {
            let (told, dropped) = channel();
            let mut state = State::new(Arc::new(FunctionContext::detached()));
            if fills {
                state.abi.fill();
            }
            state.abi.other = Some(Box::new(Told(told)));
            let belongings = Some(Box::new(state.take_belongings()));
            let drop_thread = DropThread::spawn().unwrap();
            drop(Carried { belongings, image: vec![0; image].into(), drop_thread });
            assert_eq!(dropped.recv().unwrap(), thread);
        }
    }
}
