//! `spawn` and `get_or_spawn` of `lunatic::process`.
//!
//! The new process's instance is made before these return, and it runs when its maker has left for something else. What
//! makes instances is above this room, so it finds a [`Plan`] where the process is to be.

use std::sync::Arc;

use wasmtime::{Caller, Linker, Val};

use crate::abi::guest::{Guest, PARAM_BYTES, Plan, fits_params, param_values};
use crate::abi::lunatic::support::{FAILED, OK, ask, failed, guest, no_handle, put, text, trap};
use crate::abi::lunatic::taped::{Question, keep, question};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::abi::wasi::files;
use crate::base::request::ProcessRequest;
use crate::process::config::Config;
use crate::process::files::folder::Preopen;
use crate::process::handle::Process;
use crate::process::program::Program;
use crate::process::registry::{Claim, Registry};
use crate::process::ties::Ties;
use crate::store::resting::wait;

const MODULE: &str = "lunatic::process";
/// `get_or_spawn` when another process has the name.
const TAKEN: i32 = 2;
/// For a configuration or a module: the caller's own.
pub(super) const OWN: i64 = -1;
/// Most folders of a process.
const MAX_FOLDERS: usize = 64;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "spawn", |caller, args: SpawnArgs| Box::new(spawn(caller, args)))?;
    linker.func_wrap_async(MODULE, "get_or_spawn", |caller, args: GetArgs| Box::new(get_or_spawn(caller, args)))?;
    Ok(())
}

type SpawnArgs = (i64, i64, i64, i32, i32, i32, i32, i32);
type GetArgs = (i32, i32, i64, i64, i64, i32, i32, i32, i32, i32, i32);

/// What both functions are given of the new process.
pub(super) struct Wanted {
    pub(super) link: Option<i64>,
    pub(super) config: i64,
    pub(super) module: i64,
    pub(super) entry: (i32, i32),
    pub(super) params: (i32, i32),
}

async fn spawn(mut caller: Caller<'_, State>, args: SpawnArgs) -> wasmtime::Result<i32> {
    let (link, config, module, entry, entry_len, params, params_len, id) = args;
    let link = Some(link).filter(|link| *link != 0);
    let wanted = Wanted { link, config, module, entry: (entry, entry_len), params: (params, params_len) };
    let guest = guest(&mut caller)?;
    match make(&mut caller, &guest, wanted).await? {
        Ok(child) => {
            put(&mut caller, id, child)?;
            Ok(OK)
        }
        Err(text) => failed(&mut caller, id, text),
    }
}

/// Makes a process: its number, or why it could not be made.
///
/// # Errors
/// Traps the guest when it may not, or has given what there is not.
pub(super) async fn make(
    caller: &mut Caller<'_, State>,
    guest: &Guest,
    wanted: Wanted,
) -> wasmtime::Result<Result<u64, String>> {
    permitted(caller, guest)?;
    let entry = text(caller, wanted.entry.0, wanted.entry.1)?;
    let param_bytes = checked_params(caller, wanted.params.0, wanted.params.1)?;
    let params = param_values(&param_bytes).ok_or_else(|| bad_type(caller))?;
    let config = config(caller, guest, wanted.config)?;
    let data = caller.data_mut().abi.lunatic.data();
    let module = match wanted.module {
        OWN => Some(None),
        handle => data.modules.get(handle.cast_unsigned()).cloned().map(Some),
    };
    let Some(module) = module else { return Err(no_handle(caller, "module", wanted.module.cast_unsigned())) };
    let config = if wanted.config == OWN { config } else { with_folders(caller, guest, config).await? };
    let asked = match asks(caller, &wanted, &param_bytes, &entry)? {
        Question::Told(told) => return Ok(told.map_err(|(_code, text)| text)),
        Question::Open(asked) => asked,
    };
    let made = born(caller, guest, (entry, wanted.link), Plan { params, config, module }).await;
    let made = keep(caller, asked, Ok(made.map_err(|text| (FAILED, text))))?;
    Ok(made.map_err(|(_code, text)| text))
}

/// The question for a process: handles are of what the guest has made itself.
fn asks(
    caller: &mut Caller<'_, State>,
    wanted: &Wanted,
    params: &[u8],
    entry: &str,
) -> wasmtime::Result<Question<Result<u64, (i32, String)>>> {
    let numbers = [wanted.link.unwrap_or(0), wanted.config, wanted.module, memory::length(params.len()).into()];
    let numbers = numbers.map(i64::to_le_bytes);
    question(caller, "lunatic::process.spawn", &[numbers.as_flattened(), params, entry.as_bytes()])
}

/// Has the process made.
async fn born(
    caller: &mut Caller<'_, State>,
    guest: &Guest,
    (entry, link): (String, Option<i64>),
    plan: Plan,
) -> Result<u64, String> {
    let params = plan.params.len() * size_of::<Val>();
    let child = guest.program.add_guest(entry, plan.config.text_bytes() + params)?;
    if link.is_some() {
        child.keep_ties(Ties { links: 1, monitors: 0 }, guest.program.mailbox_bytes);
    }
    child.set_unborn(Box::new(plan));
    let mut made = Made { program: &guest.program, child, done: false };
    match ask(caller, ProcessRequest::Spawn { id: made.child.id, link }).await {
        Ok(_) => {
            made.done = true;
            Ok(made.child.id)
        }
        Err(text) => Err(String::from_utf8_lossy(&text).into_owned()),
    }
}

/// The configuration of a process that is to be made: never more than its maker has. It has yet to get folders.
///
/// # Errors
/// Traps the guest when there is no such configuration, as it asks for.
pub(super) fn config(caller: &mut Caller<'_, State>, guest: &Guest, config: i64) -> wasmtime::Result<Arc<Config>> {
    let found = match config {
        OWN => Some(Arc::clone(&guest.config)),
        handle => {
            let configs = &caller.data_mut().abi.lunatic.data().configs;
            configs.get(handle.cast_unsigned()).map(|config| Arc::new(config.within(&guest.config)))
        }
    };
    let Some(found) = found else { return Err(no_handle(caller, "configuration", config.cast_unsigned())) };
    Ok(found)
}

/// The configuration with the folders that it asks for, each within one of its maker's.
///
/// # Errors
/// Traps the guest when it has no such folder itself.
async fn with_folders(
    caller: &mut Caller<'_, State>,
    guest: &Guest,
    mut config: Arc<Config>,
) -> wasmtime::Result<Arc<Config>> {
    if config.world.preopens.len() > MAX_FOLDERS {
        return Err(trap(caller, format!("a configuration has more than {MAX_FOLDERS} folders")));
    }
    let mut folders = Vec::new();
    for name in &config.world.preopens {
        let folder = Preopen::within(&guest.config.folders, name);
        let found = match folder {
            Some(folder) => files::is_folder(caller, &folder).await.then_some(folder),
            None => None,
        };
        let missing = || format!("there is no folder `{name}` that a process could have");
        folders.push(found.ok_or_else(|| trap(caller, missing()))?);
    }
    if !folders.is_empty() {
        Arc::make_mut(&mut config).folders = folders.into();
    }
    Ok(config)
}

/// A process that is being made: it is none, unless that is done, or a driver has it. Its maker may end before.
struct Made<'a> {
    program: &'a Program,
    child: Arc<Process>,
    done: bool,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.done && self.child.abandon() {
            self.program.remove(&self.child);
        }
    }
}

/// # Errors
/// Traps a guest that may start none.
pub(super) fn permitted(caller: &mut Caller<'_, State>, guest: &Guest) -> wasmtime::Result<()> {
    if guest.config.may_spawn { Ok(()) } else { Err(trap(caller, "the process is not permitted to start others")) }
}

/// The parameters as the guest gives them, of types that there are.
///
/// # Errors
/// Traps the guest when they are none.
pub(super) fn checked_params(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<Vec<u8>> {
    let bytes = param_bytes(caller, ptr, len)?;
    if param_values(&bytes).is_none() { Err(bad_type(caller)) } else { Ok(bytes) }
}

fn bad_type(caller: &mut Caller<'_, State>) -> wasmtime::Error {
    trap(caller, "a parameter has another type than i32 (0x7f), i64 (0x7e) and v128 (0x7b)")
}

fn param_bytes(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<Vec<u8>> {
    let length = memory::unsigned(len);
    if !fits_params(length) {
        return Err(trap(caller, format!("{length} bytes are no parameters, which have {PARAM_BYTES} each")));
    }
    memory::read(caller, ptr, len, usize::MAX)
}

/// A name that nobody else gets while a process is made for it.
struct Claimed<'a> {
    names: &'a Registry,
    name: &'a str,
    claim: u64,
    id: Option<u64>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.names.resolve(self.name, self.claim, self.id);
    }
}

/// How tapes have claims that are not granted.
const TAKEN_TOLD: u64 = 1;
const FULL_TOLD: u64 = 2;

fn claimed([claim, owner]: [u64; 2]) -> Claim {
    match claim {
        TAKEN_TOLD => Claim::Taken(owner),
        FULL_TOLD => Claim::Full,
        // Nothing is claimed in a replay.
        _ => Claim::Granted(0),
    }
}

async fn get_or_spawn(mut caller: Caller<'_, State>, args: GetArgs) -> wasmtime::Result<i32> {
    let (name, name_len, link, config, module, entry, entry_len, params, params_len, node, id) = args;
    let guest = guest(&mut caller)?;
    let name = text(&mut caller, name, name_len)?;
    let (program, names) = (&guest.program, &guest.program.names);
    let claim = match question(&mut caller, "lunatic::process.get_or_spawn", &[name.as_bytes()])? {
        Question::Told(told) => claimed(told),
        Question::Open(asked) => {
            let mut claiming = names.claiming(&name);
            let claim = wait(&mut caller, |cx, _wake_at| claiming.poll(|id| program.may_live(id), cx)).await;
            let told = match claim {
                Claim::Taken(owner) => [TAKEN_TOLD, owner],
                Claim::Full => [FULL_TOLD, 0],
                Claim::Granted(_) | Claim::Wait => [0, 0],
            };
            keep(&mut caller, asked, Ok(told))?;
            claim
        }
    };
    let claim = match claim {
        Claim::Taken(owner) => {
            put(&mut caller, node, program.place.node_of(owner))?;
            put(&mut caller, id, owner)?;
            return Ok(TAKEN);
        }
        Claim::Full => {
            return failed(&mut caller, id, "the program has as many names as it may have, or no room for more");
        }
        Claim::Granted(claim) => claim,
        Claim::Wait => 0,
    };
    let mut claimed = Claimed { names, name: &name, claim, id: None };
    let link = Some(link).filter(|link| *link != 0);
    let wanted = Wanted { link, config, module, entry: (entry, entry_len), params: (params, params_len) };
    match make(&mut caller, &guest, wanted).await? {
        Ok(child) => {
            claimed.id = Some(child);
            drop(claimed);
            put(&mut caller, node, program.place.node)?;
            put(&mut caller, id, child)?;
            Ok(OK)
        }
        Err(text) => {
            drop(claimed);
            failed(&mut caller, id, text)
        }
    }
}
