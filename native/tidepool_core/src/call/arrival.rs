//! Parts of programs that began on other nodes. Their processes are made when those ask for them.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Val;

use super::member::{Member, ProcessRef};
use super::process::lives;
use super::process::prepare::{bounds, new_program, prepare};
use super::process::{context, making};
use super::target::{Call, Target};
use super::task::Task;
use crate::abi::guest::{Guest, param_values};
use crate::base::error::CallError;
use crate::base::request::{Address, Away, Reply, Request};
use crate::instance::live::Instance;
use crate::process::config::Config;
use crate::process::place::Place;

/// Which part of which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The number of this node.
    pub node: u64,
    /// That of the node where the program began.
    pub origin: u64,
    /// Tells the program's module from others.
    pub module: u64,
    /// The number of its first process within this node: none has it that an earlier part of the program had here.
    pub first: u64,
}

/// A part without processes, as a process of the host's that has a number in it.
pub(crate) fn part(target: &Arc<Target>, part: Part, keeper: Address) -> Option<ProcessRef> {
    let Part { node, origin, module, first } = part;
    let place = Place::part(node, origin, module, first, &target.node.others);
    let program = new_program(target, bounds(target), place, None);
    let program = Arc::new(program.with_drop_thread(&target.node.drop_thread));
    let process = program.process(program.introduce(keeper, |_| true))?;
    Some(ProcessRef { program, process })
}

/// Makes a process that another node asks for. Its driver begins it, and lets it go when it has been made.
pub(crate) fn arrive(target: &Arc<Target>, part: &ProcessRef, mut away: Away) -> Result<ProcessRef, String> {
    if !target.module.abi.runs {
        return Err(CallError::NoProgram { abi: target.module.abi.name }.to_string());
    }
    let params = param_values(&away.params).ok_or("its parameters are none")?;
    let (program, entry) = (Arc::clone(&part.program), std::mem::take(&mut away.entry));
    program.total_cpu.lower(away.total_cpu_us.map(Duration::from_micros));
    let config = Arc::new(Config::arrived(away)?);
    let process = program.add_guest(entry, config.text_bytes())?;
    let reference = ProcessRef { program: Arc::clone(&program), process: Arc::clone(&process) };
    let guest = Arc::new(Guest { program, process, config, is_foreign: false, brought: None });
    let call = Call::new(Arc::clone(target), Request::none());
    let future = Box::pin(arrived(call.clone(), Arc::clone(&guest), params));
    reference.process.set_unborn(Box::new(Task::process(future, call, Member::new(guest, making))));
    Ok(reference)
}

async fn arrived(call: Call, guest: Arc<Guest>, params: Vec<Val>) -> Result<Reply, CallError> {
    let target = &*call.target;
    let permit = target.admit(true, &call.channel).await?;
    let (function, process) = (context(target, &guest), Arc::clone(&guest.process));
    let prepare = prepare(&call, guest, &params);
    let instance = Box::pin(Instance::new(&target.module, &function, permit, prepare)).await?;
    poll_fn(|cx| process.poll_released(cx)).await;
    lives::run(instance, (&call, &function), &params).await
}
