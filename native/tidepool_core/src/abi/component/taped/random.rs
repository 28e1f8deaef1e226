//! Random bytes: on a tape as many at once as a guest asks for.

use rand::Rng;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::abi::slots::State;
use crate::recording::tape::fill;

/// Most random bytes of one request.
pub(in crate::abi::component) const MAX_RANDOM_BYTES: u64 = 64 << 10;

pub(super) fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut secure = linker.instance("wasi:random/random@0.2.12")?;
    secure.func_wrap("get-random-bytes", |store: StoreContextMut<'_, State>, (length,): (u64,)| {
        Ok((bytes(store, length, |state| random::Host::get_random_bytes(state.ctx().ctx.random(), length))?,))
    })?;
    secure.func_wrap("get-random-u64", |store: StoreContextMut<'_, State>, (): ()| {
        Ok((number(store, |state| random::Host::get_random_u64(state.ctx().ctx.random()))?,))
    })?;
    let mut insecure = linker.instance("wasi:random/insecure@0.2.12")?;
    insecure.func_wrap("get-insecure-random-bytes", |store: StoreContextMut<'_, State>, (length,): (u64,)| {
        Ok(
            (bytes(store, length, |state| {
                insecure::Host::get_insecure_random_bytes(state.ctx().ctx.random(), length)
            })?,),
        )
    })?;
    insecure.func_wrap("get-insecure-random-u64", |store: StoreContextMut<'_, State>, (): ()| {
        Ok((number(store, |state| insecure::Host::get_insecure_random_u64(state.ctx().ctx.random()))?,))
    })?;
    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.12")?;
    seed.func_wrap("insecure-seed", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        let seed = insecure_seed::Host::insecure_seed(state.ctx().ctx.random())?;
        let Some(tape) = state.tape.clone() else { return Ok((seed,)) };
        let (mut drawn, bytes) = ([0; 16], [seed.0.to_le_bytes(), seed.1.to_le_bytes()].concat());
        tape.random(&mut drawn, |drawn| drawn.copy_from_slice(&bytes));
        let (one, other) = drawn.split_at(8);
        let number = |half: &[u8]| half.first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
        Ok(((number(one), number(other)),))
    })
}

/// So many bytes; by `untaped` where there is no tape, and where there are more than may be, which stops the guest each time.
fn bytes(
    mut store: StoreContextMut<'_, State>,
    length: u64,
    untaped: impl FnOnce(&mut State) -> wasmtime::Result<Vec<u8>>,
) -> wasmtime::Result<Vec<u8>> {
    match (store.data().tape.clone(), usize::try_from(length)) {
        (Some(tape), Ok(size)) if length <= MAX_RANDOM_BYTES => {
            let mut bytes = vec![0; size];
            fill(Some(&tape), &mut bytes);
            Ok(bytes)
        }
        _ => untaped(store.data_mut()),
    }
}

fn number(
    mut store: StoreContextMut<'_, State>,
    untaped: impl FnOnce(&mut State) -> wasmtime::Result<u64>,
) -> wasmtime::Result<u64> {
    let Some(tape) = store.data().tape.clone() else { return untaped(store.data_mut()) };
    let mut bytes = [0; 8];
    tape.random(&mut bytes, |bytes| rand::rng().fill_bytes(bytes));
    Ok(u64::from_le_bytes(bytes))
}
