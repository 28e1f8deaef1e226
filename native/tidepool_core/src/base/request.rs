//! Requests: of a caller to a function, and of a guest to its host.

use std::time::Duration;

use bytes::Bytes;

/// What a caller asks of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the guest is asked to do.
    pub operation: Vec<u8>,
    /// The input, which may be memory of the caller's: it is copied into the guest when that asks for it.
    pub payload: Bytes,
    /// How many calls this one is nested in, itself included: 1 for a call from outside.
    pub depth: u32,
    /// The caller's own limit; the function's holds as well.
    pub timeout: Duration,
}

/// A guest's request to its host, by ABI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRequest {
    /// `__host_call` of waPC.
    Wapc(HostCall),
}

/// A host call of a waPC guest: its target and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCall {
    /// First part of the target's name.
    pub binding: Vec<u8>,
    /// Second part of the target's name.
    pub namespace: Vec<u8>,
    /// Third part of the target's name.
    pub operation: Vec<u8>,
    /// What the guest sends along.
    pub payload: Vec<u8>,
}

/// What the host answers: bytes, or the text of an error.
pub type HostReply<B = Bytes> = Result<B, B>;
