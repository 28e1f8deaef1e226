//! Handlers of HTTP as an ABI.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::Request;
use http_body_util::{BodyExt, Limited};
use wasmtime::component::{Instance, Resource};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error, WasiHttpView};

use super::content::of_request;
use super::fate::{Fate, Running};
use super::growing::came;
use super::head::Head;
use super::lent::Lent;
use super::patience::{Patience, paced};
use crate::abi::contract::{Abi, ComponentAbi};
use crate::abi::interface::{self, Interface};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::exchange::{Body, Ends, Exchange};
use crate::base::request::{Payload, Reply, Takes};
use crate::store::failure::call_error;

/// The interface that a handler exports, of any version of WASI 0.2.
const INTERFACE: &str = "wasi:http/incoming-handler";
/// The function of it.
const EXPORT: &[u8] = b"wasi:http/incoming-handler#handle";

/// A component that handles requests of HTTP.
pub(crate) enum Handler {}

impl Abi for Handler {
    const NAME: &'static str = "http";
    const REUSABLE: bool = true;
    const RUNS: bool = false;
    const TAKES: Takes = Takes::Requests;

    fn probe() -> Option<Payload> {
        Some(Payload::Exchange(Exchange::probe()))
    }

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let state = store.data_mut();
        // Taken out while it runs: a count of those who use it would be one line of memory that all cores write.
        let (Some(call), Some((instance, interface))) = (state.call.clone(), state.abi.component.guest.take()) else {
            return Err(CallError::Internal { message: "the instance is not one of a component".into() });
        };
        let outcome = match &call.request.payload {
            Payload::Exchange(exchange) => handle(store, exchange, &instance, &interface).await,
            Payload::Bytes(_) | Payload::Value(_) => {
                Err(CallError::Internal { message: "no request to handle".into() })
            }
        };
        store.data_mut().abi.component.guest = Some((instance, interface));
        outcome
    }
}

impl ComponentAbi for Handler {
    fn suits(exports: &[&str]) -> bool {
        interface::has(exports, INTERFACE)
    }

    fn detect(interface: &Interface) -> bool {
        interface.find(EXPORT).is_some()
    }
}

type Handle = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

/// Has the guest handle a request, to the handler's return.
async fn handle(
    store: &mut Store<State>,
    exchange: &Exchange,
    instance: &Instance,
    interface: &Interface,
) -> Result<Reply, CallError> {
    // Who has sent it has its head counted until the call is over: what a guest keeps of that is its function's.
    let Some((Ends { request, is_secure, respond, is_bounded }, _sent)) = exchange.take() else {
        return Err(CallError::Internal { message: "the request was handled already".into() });
    };
    let allowed = store.data().function.limits.reply_bytes;
    let fate = Arc::new(Fate::new(allowed));
    let running = Running(&fate);
    let request = match is_bounded {
        true => request,
        false => request.map(|body| bounded(body, store.data().function.limits.payload_bytes)),
    };
    let idle = store.data().function.limits.client_idle();
    let (head, body) = request.into_parts();
    let body = Lent::new(paced(body, idle));
    let request = Request::from_parts(head, body.clone().map_err(told));
    let scheme = if is_secure { Scheme::Https } else { Scheme::Http };
    let head = Head::new(exchange, respond, (&fate, allowed), store.data().tape.is_some());
    let set = head.clone();
    let outcome = async {
        let index = interface.find(EXPORT).map(|export| export.index);
        let function = index.and_then(|index| instance.get_func(&mut *store, index));
        let function = function.ok_or_else(|| wasmtime::Error::msg("the handler is not exported"))?;
        let function = function.typed::<Handle, ()>(&*store)?;
        let bytes = of_request(&request);
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(scheme, request)?;
        let response = http.new_response_outparam_from_callback(move |response| set.set(response))?;
        came(&mut store.as_context_mut(), &request, bytes)?;
        let mut patience = Patience::new(idle);
        let mut handled = pin!(function.call_async(&mut *store, (request, response)));
        poll_fn(|cx| {
            match (fate.poll_end(cx), exchange.poll_left(cx)) {
                (Poll::Ready(end), _) => return Poll::Ready(Ok(Some(end))),
                (Poll::Pending, Poll::Ready(())) => return Poll::Ready(Ok(Some(CallError::ClientGone))),
                (Poll::Pending, Poll::Pending) => {}
            }
            let handled = handled.as_mut().poll(cx).map_ok(|()| None);
            head.pass_on();
            if handled.is_ready() {
                return handled;
            }
            patience.poll(fate.taken_at(), cx).map(|()| Ok(Some(CallError::ClientGone)))
        })
        .await
    };
    let outcome: wasmtime::Result<Option<CallError>> = outcome.await;
    store.data_mut().end_requests();
    body.end();
    match outcome {
        Ok(None) => {
            let recorded = fate.over()?;
            let place = store.data().call.as_ref().and_then(|call| call.channel.taped());
            if let Some((place, recorded)) = place.zip(recorded) {
                place.respond(recorded);
            }
            Ok(Reply::Responded)
        }
        Ok(Some(end)) => Err(end),
        Err(error) => {
            // It drops what the body comes from.
            drop(running);
            Err(call_error(store, &error))
        }
    }
}

/// A body that ends with an error where it has more bytes than may be.
fn bounded(body: Body, allowed: u64) -> Body {
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    let told = |error: Box<dyn std::error::Error + Send + Sync>| match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(_too_large) => ErrorKind::FileTooLarge.into(),
    };
    Limited::new(body, allowed).map_err(told).boxed_unsync()
}

/// Why the rest of a request does not come, in terms of `wasi:http`.
fn told(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::FileTooLarge => Error::HttpRequestBodySize(None),
        ErrorKind::TimedOut => Error::ConnectionReadTimeout,
        _ => Error::ConnectionTerminated,
    }
}
