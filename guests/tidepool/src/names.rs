//! Names that hold on all nodes of a program.

use std::any::type_name;
use std::fmt;

use lunatic::{Process, ProcessName};

use crate::host;

/// Why nothing was done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// There is no such process, or no more, or its node can't be reached; or it is none of the program's own.
    NoProcess,
    /// The program has as many names as it may have, or no room for more.
    Full,
    /// The node where the program began can't be asked, or its version of Tidepool knows no such names.
    NotAsked,
    /// It has not answered in time. It may have done what it was asked to do.
    TimedOut,
}

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            NameError::NoProcess => "there is no such process of the program",
            NameError::Full => "the program has as many names as it may have",
            NameError::NotAsked => "the node where the program began can't be asked for names",
            NameError::TimedOut => "the node where the program began has not answered in time",
        })
    }
}

impl std::error::Error for NameError {}

/// Gives a process the name, whoever has it.
///
/// # Errors
/// See [`NameError`].
pub fn register<M, S, N: ProcessName + ?Sized>(name: &N, process: &Process<M, S>) -> Result<(), NameError> {
    let name = key::<M, S, N>(name);
    // SAFETY: the name outlives the call.
    let code = unsafe { host::put_name(name.as_ptr(), name.len() as u32, process.node_id(), process.id()) };
    done(code).map(drop)
}

/// Gives a process the name, if none has it: `None`, or the process that has it. Of several that claim it at a time, wherever they
/// are, one gets it.
///
/// # Errors
/// See [`NameError`].
pub fn claim<M, S, N>(name: &N, process: &Process<M, S>) -> Result<Option<Process<M, S>>, NameError>
where
    N: ProcessName + ?Sized,
{
    let name = key::<M, S, N>(name);
    let (mut node, mut id) = (0, 0);
    // SAFETY: all pointers are to what outlives the call.
    let code = unsafe {
        host::claim_name(name.as_ptr(), name.len() as u32, process.node_id(), process.id(), &mut node, &mut id)
    };
    // SAFETY: names are told apart by the types of their processes.
    Ok(if done(code)? { None } else { Some(unsafe { Process::new(node, id) }) })
}

/// The process that has the name, if one has it.
///
/// # Errors
/// [`NameError::NotAsked`] and [`NameError::TimedOut`].
pub fn lookup<M, S, N: ProcessName + ?Sized>(name: &N) -> Result<Option<Process<M, S>>, NameError> {
    let name = key::<M, S, N>(name);
    let (mut node, mut id) = (0, 0);
    // SAFETY: all pointers are to what outlives the call.
    let code = unsafe { host::get_name(name.as_ptr(), name.len() as u32, &mut node, &mut id) };
    // SAFETY: names are told apart by the types of their processes.
    Ok(if done(code)? { Some(unsafe { Process::new(node, id) }) } else { None })
}

/// Takes the name from the process of these types that has it, if one has it.
///
/// # Errors
/// [`NameError::NotAsked`] and [`NameError::TimedOut`].
pub fn remove<M, S, N: ProcessName + ?Sized>(name: &N) -> Result<(), NameError> {
    let name = key::<M, S, N>(name);
    // SAFETY: the name outlives the call.
    done(unsafe { host::remove_name(name.as_ptr(), name.len() as u32) }).map(drop)
}

/// What an import says: whether it is done, or else the name is another's, or nobody's.
fn done(code: u32) -> Result<bool, NameError> {
    match code {
        host::OK => Ok(true),
        host::TAKEN => Ok(false),
        host::NO_PROCESS => Err(NameError::NoProcess),
        host::FULL => Err(NameError::Full),
        host::TIMED_OUT => Err(NameError::TimedOut),
        _ => Err(NameError::NotAsked),
    }
}

/// The name with the types of its process, as the crate `lunatic` has it.
fn key<M, S, N: ProcessName + ?Sized>(name: &N) -> String {
    format!("{}/{}/Process/{}", type_name::<M>(), type_name::<S>(), name.process_name())
}
