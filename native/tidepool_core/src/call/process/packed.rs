//! Processes as bytes: one that has left its stack, and one that goes on from that, here or on another node, now or later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::member::Member;
use super::super::target::{Call, Target};
use super::super::task::Task;
use super::prepare::{bounds, new_program, set_up};
use super::{ProcessOptions, context, lives, making};
use crate::abi::begun::{letter, message};
use crate::abi::guest::Guest;
use crate::base::error::CallError;
use crate::base::request::{Reply, Request};
use crate::image::ImageError;
use crate::image::reader::Image;
use crate::instance::frozen::{Unpacked, is_laid_out_so, nanoseconds};
use crate::instance::live::Instance;
use crate::module::compiled::Linked;
use crate::process::bounds::Bounds;
use crate::process::config::{Config, World};
use crate::process::handle::Process;
use crate::process::place::Place;
use crate::process::program::Program;
use crate::recording::outside::packed::{Mail, Packed, Unfit};
use crate::store::frames::{Stack, Stays, Wait};

/// The number of a program's first process.
const FIRST: u64 = 1;

impl From<Unfit> for CallError {
    fn from(unfit: Unfit) -> Self {
        CallError::Image { message: unfit.to_string() }
    }
}

impl Task {
    /// Like [`Task::freeze`], for one that is to go on elsewhere: when its driver gets
    /// [`ProcessRequest::Frozen`](crate::ProcessRequest::Frozen), there is [`Task::packed`].
    pub fn pack(&self) {
        self.call.channel.ask_to_leave(true);
    }

    /// All of a process that has left its stack, as bytes by which [`Function::thaw`](crate::Function::thaw) goes on with it: what has come to it until now is in
    /// them. `None` of one that was not asked for that by [`Task::pack`], or goes on already.
    ///
    /// Whoever has them either answers, and it goes on here, or drops the task.
    ///
    /// # Errors
    /// [`Stays::Holds`], which says what it can't take along.
    pub fn packed(&self) -> Option<Result<Bytes, Stays>> {
        let member = self.member.as_ref()?;
        self.call.channel.packed(|outcome| {
            let (packed, left_at) = outcome.as_ref().map_err(Clone::clone)?;
            let mailbox = mail(&member.process, *left_at).map_err(|what| Stays::Holds { what })?;
            let cpu_ns = nanoseconds(self.cpu_time);
            Ok(Packed { mailbox, cpu_ns, ..packed.clone() }.write())
        })
    }
}

/// What has come to a process, and is to come so long after it left its stack.
fn mail(process: &Process, left_at: Instant) -> Result<Mail, &'static str> {
    if process.next_later().is_some() {
        return Err("messages for a process of the host's that are due later");
    }
    let (mut messages, mut due) = (Vec::new(), Vec::new());
    let next = process.show(|message, when| -> Result<(), &'static str> {
        let letter = letter(message)?;
        match when {
            None => messages.push(letter),
            Some((number, at)) => due.push((number, nanoseconds(at.saturating_duration_since(left_at)), letter)),
        }
        Ok(())
    })?;
    Ok(Mail { messages, due, next })
}

/// The task of a process that goes on from these bytes, in a program of its own with these options: what they say of entry, arguments,
/// environment and files is in the bytes, or was.
///
/// # Errors
/// [`CallError::Image`] when they are damaged, or none of this module's; [`CallError::Limit`] when they have more than it may have here, and
/// what [`start`](super::start) says.
pub(crate) fn thaw(target: &Arc<Target>, bytes: Bytes, options: ProcessOptions) -> Result<Task, CallError> {
    if !target.module.abi.runs {
        return Err(CallError::NoProgram { abi: target.module.abi.name });
    }
    let (Some(movable), Linked::Module { abi, .. }) = (&target.module.movable, &target.module.linked) else {
        return Err(Unfit::Fixed.into());
    };
    let packed = Packed::read(bytes)?;
    let Packed { layout, begun, entry, module, import, left_ns, most_memory, cpu_ns, groups, kept, mailbox, image } =
        packed;
    // Of another module first: its frames and waits say nothing here.
    let image = Image::of(image, &movable.imaged.shape.module)?;
    if !is_laid_out_so(layout) {
        return Err(Unfit::Layout.into());
    }
    let import = abi.waits.iter().find(|it| it.is(&module, &import)).ok_or(Unfit::Wait)?;
    // Its clock, its wait and what is due go on together.
    let now = Instant::now();
    let until = left_ns.map(|left| later(now, left));
    let stack = Stack::of(groups, Wait { import: *import, until: until.flatten() });
    target.begin()?;
    let ProcessOptions { output, stdio, cpu_time, total_cpu_time, node, module, .. } = options;
    let others = &target.node.others;
    let place = match begun.id {
        FIRST => Place::first(node, module, others),
        id => Place::part(node, begun.origin, module, id, others),
    };
    let bounds = Bounds { total_cpu: total_cpu_time, ..bounds(target) };
    let program = new_program(target, bounds, place, output);
    let program = Arc::new(program.with_stdio(stdio).with_drop_thread(&target.node.drop_thread));
    let config = Config::arrived(begun.with).map_err(|_much| Unfit::Form)?;
    let config = config.within(&Config::first(World::default(), Arc::default(), cpu_time));
    let refused = |message| CallError::Overloaded { message };
    let process = program.add_guest(entry, config.text_bytes()).map_err(refused)?;
    if process.id != begun.id {
        return Err(Unfit::Form.into());
    }
    restore(&process, mailbox, (&program, now))?;
    let guest =
        Arc::new(Guest { program, process, config: Arc::new(config), is_foreign: begun.is_foreign, brought: None });
    let call = Call::new(Arc::clone(target), Request::none());
    let unpacked = Unpacked { image, stack, kept, most_memory, began: now };
    let future = Box::pin(thawed(call.clone(), Arc::clone(&guest), unpacked));
    let mut task = Task::process(future, call, Member::new(guest, making));
    task.cpu_time = Duration::from_nanos(cpu_ns);
    Ok(task)
}

/// When so much time is over; `None` is never.
fn later(now: Instant, left_ns: u64) -> Option<Instant> {
    now.checked_add(Duration::from_nanos(left_ns))
}

/// Has a process what had come to it, and what is due after `now`.
fn restore(process: &Process, mail: Mail, (program, now): (&Program, Instant)) -> Result<(), CallError> {
    let messages = mail.messages.into_iter().filter_map(message);
    let due =
        mail.due.into_iter().filter_map(|(number, left, letter)| Some((number, later(now, left)?, message(letter)?)));
    let restored = process.restore(messages, (due, mail.next), program.mailbox_bytes);
    restored.map_err(|(limit, allowed)| CallError::limit(limit, u64::try_from(allowed).unwrap_or(u64::MAX)))
}

async fn thawed(call: Call, guest: Arc<Guest>, unpacked: Unpacked) -> Result<Reply, CallError> {
    let target = &*call.target;
    let permits = target.admit(false, &call.channel).await?;
    let function = context(target, &guest);
    let set_up = set_up(&call, guest, None, None);
    let unpacked = Box::pin(Instance::unpacked(&target.module, &function, permits, unpacked, set_up)).await?;
    let (instance, stack) = unpacked.ok_or(ImageError::Damaged)?;
    lives::enter(instance, stack, (&call, &function)).await
}
