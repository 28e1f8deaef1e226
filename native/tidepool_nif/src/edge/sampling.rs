//! Which calls are traced: those whose sender traces them, and of those without a sender's trace a share.
//!
//! It is decided where calls arrive, so that one that is not traced needs no process for it.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use rustler::{Encoder, Env, NifResult, Term};
use tidepool_http::TraceParent;

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

/// `{nil | {trace_id, span_id}, sampled?}`.
pub(crate) fn term<'a>(env: Env<'a>, traced: Option<&Traced>) -> Term<'a> {
    let Some(traced) = traced else { return atoms::nil().encode(env) };
    let parent = traced.parent.map(|parent| (encode::copy(env, &parent.trace_id), encode::copy(env, &parent.span_id)));
    (parent, traced.sampled).encode(env)
}

/// From 0 to 1, and never 1. Nobody gains by guessing it.
fn random() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
    }
    // SplitMix64.
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ (mixed >> 31);
    // 53 bits are what a float has.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let fraction = (mixed >> 11) as f64;
    fraction / 9_007_199_254_740_992.0
}
