//! Processes of the VM as the core names them: by a number that means something here alone.

use std::num::NonZeroU64;

use rustler::sys::ErlNifPid;
use rustler::{Encoder, Env, LocalPid, Term};
use tidepool_core::Address;

use crate::terms::atoms;

const _: () = assert!(size_of::<ErlNifPid>() == size_of::<usize>() && size_of::<usize>() == size_of::<u64>());

/// The address of a process of this node; `None` for what can't be one.
pub(crate) fn address(pid: LocalPid) -> Option<Address> {
    // SAFETY: an `ErlNifPid` is a C structure of one machine word, as asserted above, and any word is a number.
    let word: usize = unsafe { std::mem::transmute::<ErlNifPid, usize>(*pid.as_c_arg()) };
    u64::try_from(word).ok().and_then(NonZeroU64::new).map(Address)
}

/// The process with this address. Pids of this node are numbers that hold for its life, whether their process lives or not.
pub(crate) fn pid(address: Address) -> Option<LocalPid> {
    let word = usize::try_from(address.0.get()).ok()?;
    // SAFETY: addresses are made of pids alone, in `address`, so this is the word that was there.
    Some(LocalPid::from_c_arg(unsafe { std::mem::transmute::<usize, ErlNifPid>(word) }))
}

/// A pid, or `nil`.
pub(crate) fn term(env: Env<'_>, to: Option<Address>) -> Term<'_> {
    to.and_then(pid).map_or_else(|| atoms::nil().encode(env), |pid| pid.encode(env))
}
