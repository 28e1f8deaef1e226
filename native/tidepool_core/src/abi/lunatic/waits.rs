//! The imports that a guest may be in when it leaves its stack: each is called again, as it was, where the guest goes on.
//!
//! One that is not here has no place that its callers could be left at. So who waits where a guest may leave says in which of these.

use super::OWN;
use crate::abi::wasi::poll::POLL;
use crate::store::frames::Waiting;

pub(in crate::abi::lunatic) const RECEIVE: Waiting = Waiting::new("lunatic::message", "receive");
/// Its second half: what it sends has been sent before.
pub(in crate::abi::lunatic) const SEND_RECEIVE: Waiting = Waiting::new("lunatic::message", "send_receive_skip_search");
pub(in crate::abi::lunatic) const SEND_AWAY_RECEIVE: Waiting =
    Waiting::new("lunatic::distributed", "send_receive_skip_search");
pub(in crate::abi::lunatic) const SLEEP: Waiting = Waiting::new("lunatic::process", "sleep_ms");
/// Where it waits for messages alone.
pub(in crate::abi::lunatic) const WAIT: Waiting = Waiting::new(OWN, "wait");
/// It calls the guest, which may be in one of the others.
pub(in crate::abi::lunatic) const CATCH: Waiting = Waiting::new("lunatic::trap", "catch");

/// All of them.
pub(super) const ALL: &[Waiting] = &[RECEIVE, SEND_RECEIVE, SEND_AWAY_RECEIVE, SLEEP, WAIT, CATCH, POLL];
