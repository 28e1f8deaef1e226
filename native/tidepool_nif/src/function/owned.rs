//! Instances that stay with whoever holds their term, and their images.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, NifResult, Resource, ResourceArc, Term};
use tidepool_core::{CallError, ImageRoom, Imaged, OwnedInstance, Request, ShortName};

use crate::function::call::{first_slice, payload as payload_of};
use crate::function::deploy::FunctionHandle;
use crate::function::wake::{Letter, post};
use crate::terms::message::message;
use crate::terms::{atoms, decode, encode};

/// Memory up to which an image is made on a scheduler: a quarter of a millisecond.
const SMALL_BYTES: usize = 1 << 20;

/// An instance. It is gone with its term, unless a call has it.
pub(crate) struct OwnedHandle(pub(crate) OwnedInstance);

#[rustler::resource_impl]
impl Resource for OwnedHandle {}

/// `{:ok, owned}`, or an error. Without an `image` it is to begin with its start functions. The caller is sent `:tidepool_wanted` when
/// others want its place.
#[rustler::nif]
fn own<'a>(env: Env<'a>, function: &'a FunctionHandle, image: Option<Binary<'a>>) -> Term<'a> {
    let owned = match image {
        Some(image) => function.0.wake(message(image)).map_err(|error| encode::call_error(env, &error)),
        None => function.0.instance().map_err(|error| encode::compile_error(env, &error)),
    };
    owned_by_caller(env, owned)
}

/// The same of an image that has room already, which is that of no other from then on.
#[rustler::nif]
fn own_in<'a>(
    env: Env<'a>,
    function: &'a FunctionHandle,
    image: Binary<'a>,
    room: &'a RoomHandle,
) -> NifResult<Term<'a>> {
    let room = room.take().ok_or(rustler::Error::BadArg)?;
    let owned = function.0.wake_in(message(image), room).map_err(|error| encode::call_error(env, &error));
    Ok(owned_by_caller(env, owned))
}

fn owned_by_caller<'a>(env: Env<'a>, owned: Result<OwnedInstance, Term<'a>>) -> Term<'a> {
    match owned {
        Ok(owned) => {
            let (owner, io) = (env.pid(), owned.io().clone());
            owned.on_wanted(Box::new(move || post(Letter::Place(owner), &io)));
            (atoms::ok(), ResourceArc::new(OwnedHandle(owned))).encode(env)
        }
        Err(failure) => failure,
    }
}

/// Room for an image, until an instance has it, it is freed, or its term is gone.
struct RoomHandle(Mutex<Option<ImageRoom>>);

#[rustler::resource_impl]
impl Resource for RoomHandle {}

impl RoomHandle {
    fn take(&self) -> Option<ImageRoom> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// `{:ok, room}` for an image of so many bytes, or an error as of `own`.
#[rustler::nif]
fn image_room<'a>(env: Env<'a>, function: &'a FunctionHandle, bytes: u64) -> Term<'a> {
    match function.0.image_room(usize::try_from(bytes).unwrap_or(usize::MAX)) {
        Ok(room) => (atoms::ok(), ResourceArc::new(RoomHandle(Mutex::new(Some(room))))).encode(env),
        Err(error) => encode::call_error(env, &error),
    }
}

/// `:ok`: there is no image for it.
#[rustler::nif]
fn free_image_room(room: &RoomHandle) -> Atom {
    drop(room.take());
    atoms::ok()
}

/// The same without an image, for who keeps its place whatever happens: nobody asks for it.
#[rustler::nif]
fn own_for_good<'a>(env: Env<'a>, function: &'a FunctionHandle) -> Term<'a> {
    match function.0.instance() {
        Ok(owned) => (atoms::ok(), ResourceArc::new(OwnedHandle(owned))).encode(env),
        Err(error) => encode::compile_error(env, &error),
    }
}

/// Makes an instance, unless it is made, and drives that for its first slice.
#[rustler::nif]
fn make_owned<'a>(env: Env<'a>, owned: &'a OwnedHandle, timeout_ms: Term<'a>) -> NifResult<Term<'a>> {
    Ok(first_slice(env, owned.0.make(decode::timeout(timeout_ms)?)))
}

/// Calls an instance and drives the call for its first slice, as `call` does.
#[rustler::nif]
fn call_owned<'a>(
    env: Env<'a>,
    owned: &'a OwnedHandle,
    operation: Binary<'a>,
    payload: Term<'a>,
    depth: u32,
    timeout_ms: Term<'a>,
) -> NifResult<Term<'a>> {
    let timeout: Duration = decode::timeout(timeout_ms)?;
    let operation = ShortName::from_slice(&operation);
    let payload = payload_of(payload, |bytes| owned.0.admit(bytes));
    let task = payload.and_then(|payload| owned.0.call(Request { operation, payload, depth, timeout }));
    Ok(match task {
        Ok(task) => first_slice(env, task),
        Err(error) => encode::call_error(env, &error),
    })
}

/// `{:ok, image}`, `{:ok, {:next, change}}`, `:unchanged`, `:large` or an error.
#[rustler::nif]
fn image<'a>(env: Env<'a>, owned: &'a OwnedHandle) -> Term<'a> {
    imaged(env, owned.0.image(SMALL_BYTES))
}

/// The same, however large its memory is.
#[rustler::nif(schedule = "DirtyCpu")]
fn image_large<'a>(env: Env<'a>, owned: &'a OwnedHandle) -> Term<'a> {
    imaged(env, owned.0.image(usize::MAX))
}

/// `{:ok, image | nil}` or an error: the image in a binary that is no larger than it.
#[rustler::nif(schedule = "DirtyCpu")]
fn image_copy<'a>(env: Env<'a>, owned: &'a OwnedHandle) -> Term<'a> {
    match owned.0.copy() {
        Ok(image) => (atoms::ok(), image.map(|image| encode::copy(env, &image))).encode(env),
        Err(error) => encode::call_error(env, &error),
    }
}

/// Was it stopped in a call?
#[rustler::nif(name = "owned_spent?")]
fn owned_spent(owned: &OwnedHandle) -> bool {
    owned.0.is_spent()
}

/// Has it yet to be made, of an image?
#[rustler::nif(name = "owned_imaged?")]
fn owned_imaged(owned: &OwnedHandle) -> bool {
    owned.0.has_image()
}

fn imaged(env: Env<'_>, outcome: Result<Imaged, CallError>) -> Term<'_> {
    match outcome {
        Ok(Imaged::New(image)) => (atoms::ok(), encode::binary(env, image)).encode(env),
        Ok(Imaged::Next(change)) => (atoms::ok(), (atoms::next(), encode::binary(env, change))).encode(env),
        Ok(Imaged::Unchanged) => atoms::unchanged().encode(env),
        Ok(Imaged::Large) => atoms::large().encode(env),
        Err(error) => encode::call_error(env, &error),
    }
}
