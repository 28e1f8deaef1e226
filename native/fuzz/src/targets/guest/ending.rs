//! What is compared between engines: how a call ended, and what the host told the guest.

use tidepool_core::trap::TrapKind;
use tidepool_core::{HostCall, HostReply, Limit};

use crate::behaviour::hash;

/// How a call ended, in terms that all have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Reply(Vec<u8>),
    Refusal(String),
    Trap(TrapKind),
    Limit(Limit),
    /// In a way that may be another elsewhere: a stack or time that was used up.
    Unlike,
}

/// What the host answers, the same to the same request.
pub(super) fn host(request: &HostCall) -> HostReply<Vec<u8>> {
    let key = hash(&(&request.binding, &request.namespace, &request.operation, &request.payload));
    let answer = key.to_le_bytes().repeat(usize::from(key.to_le_bytes()[0]));
    if key.is_multiple_of(3) { Err(answer) } else { Ok(answer) }
}
