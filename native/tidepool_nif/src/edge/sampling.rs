//! Which calls are traced: those whose sender traces them, and of those without a sender's trace a share.
//!
//! It is decided where calls arrive, so that one that is not traced needs no process for it.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use rustler::{Encoder, Env, NifResult, Term};
use tidepool_http::{ExchangeRequest, TraceParent};

use crate::terms::{atoms, encode};

/// The share, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling(f64);

/// What is known of the trace that a request belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traced {
    parent: Option<TraceParent>,
    /// Whether it is recorded.
    pub(crate) sampled: bool,
}

impl Sampling {
    /// `BadArg` for what is no share.
    pub(crate) fn new(share: f64) -> NifResult<Self> {
        if (0.0..=1.0).contains(&share) { Ok(Sampling(share)) } else { Err(rustler::Error::BadArg) }
    }

    /// Decides about a request.
    pub(crate) fn decide(self, parent: Option<TraceParent>) -> Traced {
        let sampled = parent.map_or_else(|| random() < self.0, |parent| parent.sampled);
        Traced { parent, sampled }
    }
}

impl Traced {
    /// Writes it into a request that is not recorded, for the handler that gets it: a trace of its own where the sender has none. Of one that
    /// is recorded the span is still to begin, and what its sender has said stays until then.
    pub(crate) fn pass_on(&mut self, request: &mut ExchangeRequest) {
        if !self.sampled && self.parent.is_none() {
            let (high, low, span) = (id(), id(), id());
            let [a, b] = [high, low].map(u64::to_be_bytes);
            let mut trace_id = [0; 16];
            trace_id.iter_mut().zip(a.into_iter().chain(b)).for_each(|(to, from)| *to = from);
            let parent = TraceParent { trace_id, span_id: span.to_be_bytes(), sampled: false };
            parent.put(request.request.headers_mut());
            self.parent = Some(parent);
        }
    }

    /// What a call that is not recorded is part of, for the servers that its guest asks.
    pub(crate) fn unrecorded(self) -> Option<TraceParent> {
        self.parent.filter(|_parent| !self.sampled)
    }
}

/// `{nil | {trace_id, span_id}, sampled?}`.
pub(crate) fn term<'a>(env: Env<'a>, traced: Option<&Traced>) -> Term<'a> {
    let Some(traced) = traced else { return atoms::nil().encode(env) };
    let parent = traced.parent.map(|parent| (encode::copy(env, &parent.trace_id), encode::copy(env, &parent.span_id)));
    (parent, traced.sampled).encode(env)
}

/// From 0 to 1, and never 1.
fn random() -> f64 {
    // 53 bits are what a float has.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let fraction = (bits() >> 11) as f64;
    fraction / 9_007_199_254_740_992.0
}

/// A half of an id, which is never zero.
fn id() -> u64 {
    bits().max(1)
}

/// Nobody gains by guessing them.
fn bits() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
    }
    // SplitMix64.
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
