//! What `wasi:http` asks its host.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::errors;
use crate::abi::component::http::bounds::{CHUNK_BYTES, CHUNKS};
use crate::abi::outgoing::awaited::{self, Awaited};
use crate::abi::outgoing::{denied, trace};
use crate::base::request::ExchangeCall;
use crate::base::request::exchange::Left;
use crate::net::access::Access;
use crate::net::http::client::{self, Patience};
use crate::net::http::failure::Failure;
use crate::net::http::lull::Paced;
use crate::store::context::FunctionContext;

/// How many requests may be noted before those are forgotten that are over.
const NOTED: usize = 32;

/// How long a server may take, for each of the three times that a request of a process says nothing of: such a one has no deadline that
/// would end it. It is what `wasmtime` has for all.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the host knows of a guest's requests.
#[derive(Default)]
pub(in crate::abi::component) struct Hooks {
    /// Where the next request goes: it was looked at before.
    pub(super) next: Way,
    /// What is under way, and ends with the guest's call.
    ongoing: Vec<Ending>,
}

/// Where a request goes.
#[derive(Default)]
pub(super) enum Way {
    /// Nowhere.
    #[default]
    Denied,
    /// To a server.
    Out(Outward),
    /// To the function of this name.
    In(String),
    /// The host is to be asked to have this served.
    Ask(ExchangeCall),
}

/// What a request to a server takes.
pub(super) struct Outward {
    pub(super) access: Arc<Access>,
    /// The guest's, which is told on its console of what it is not granted.
    pub(super) function: Arc<FunctionContext>,
    /// What the call is part of.
    pub(super) trace: Option<HeaderValue>,
    /// Is it a process that asks? Calls end by their time.
    pub(super) is_process: bool,
}

/// What ends a request.
enum Ending {
    Socket(client::Ending),
    Call(Left),
}

impl Ending {
    fn is_over(&self) -> bool {
        match self {
            Ending::Socket(request) => request.is_finished(),
            Ending::Call(left) => left.is_alone(),
        }
    }

    fn end(self) {
        match self {
            Ending::Socket(request) => request.end(),
            Ending::Call(left) => left.leave(),
        }
    }
}

impl Hooks {
    /// Ends what is under way.
    pub(super) fn end(&mut self) {
        self.ongoing.drain(..).for_each(Ending::end);
    }

    fn note(&mut self, ending: Ending) {
        if self.ongoing.len() >= NOTED {
            self.ongoing.retain(|ending| !ending.is_over());
        }
        self.ongoing.push(ending);
    }
}

type Answered = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;
type Answering = Box<dyn Future<Output = Answered> + Send>;

/// How long a server may take: as the guest says.
fn patience(options: &RequestOptions, is_process: bool) -> Patience {
    let otherwise = is_process.then_some(PATIENCE);
    Patience {
        connect: options.connect_timeout.or(otherwise),
        first_byte: options.first_byte_timeout.or(otherwise),
        between_bytes: options.between_bytes_timeout.or(otherwise),
    }
}

fn failed(error: Error) -> Answering {
    Box::new(std::future::ready(Err(error)))
}

/// A response, of which nothing is to be driven beside its body. The guest may keep its fields for as long as it likes: they are copies,
/// which keep nothing of what was read of their connection.
fn answered<B>(response: Response<B>) -> Answered
where
    B: Body<Data = Bytes, Error = Error> + Send + 'static,
{
    let mut response = response.map(|body| body.map_frame(own_trailers).boxed_unsync());
    *response.headers_mut() = tidepool_fields::own(response.headers());
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

fn own_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(tidepool_fields::own(&trailers)),
        Err(frame) => frame,
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Answering {
        let options = options.unwrap_or_default();
        if request.method() == Method::CONNECT {
            return failed(Error::HttpRequestMethodInvalid);
        }
        match std::mem::take(&mut self.next) {
            Way::Denied | Way::Ask(_) => failed(Error::HttpRequestDenied),
            Way::Out(Outward { access, function, trace, is_process }) => {
                trace::put(request.headers_mut(), trace.as_ref());
                let patience = patience(&options, is_process);
                let asked = client::send(access, request.map(|body| body.map_err(errors::Sent)), patience, Vec::new());
                self.note(Ending::Socket(asked.ending()));
                Box::new(async move {
                    let response = asked.response().await.map_err(|failure| {
                        if let Failure::Net(error) = &failure {
                            denied::print(&function, error);
                        }
                        errors::told(&failure)
                    })?;
                    answered(response.map(|body| body.map_err(|failure| errors::told(&failure))))
                })
            }
            Way::In(function) => {
                request.headers_mut().remove(HOST);
                let (asked, awaited) =
                    awaited::asked(function, request.map(|body| body.map_err(unsent).boxed_unsync()));
                self.next = Way::Ask(asked);
                self.note(Ending::Call(awaited.ending()));
                Box::new(inside(awaited, options.first_byte_timeout, options.between_bytes_timeout))
            }
        }
    }

    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTPS)
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

/// Why the rest of a request does not come, as the function is told that gets it.
fn unsent(_error: Error) -> io::Error {
    ErrorKind::ConnectionAborted.into()
}

async fn inside(awaited: Awaited, first_byte: Option<Duration>, between_bytes: Option<Duration>) -> Answered {
    let response = match first_byte {
        Some(time) => timeout(time, awaited.response()).await.map_err(|_late| Error::ConnectionReadTimeout)?,
        None => awaited.response().await,
    };
    let (response, left) = response.map_err(|why| Error::from(errors::Refused(why)))?;
    answered(response.map(|body| {
        // The function is left when its body is dropped.
        let body = body.map_err(move |error| (&left, errors::broken(&error)).1);
        Paced::new(body, between_bytes, || Error::ConnectionReadTimeout)
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::future::ready;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use http::HeaderMap;
    use http::header::ETAG;
    use http_body_util::Empty;

    use super::*;

    #[test]
    fn a_response_and_what_is_behind_it_keep_nothing_of_what_they_were_read_from() {
        let [head, behind] = [(); 2].map(|()| -> Arc<[u8]> { Arc::from(b"a value and much more".as_slice()) });
        let fields = |read: &Arc<[u8]>| {
            let value = Bytes::from_owner(Arc::clone(read)).slice(..7);
            let mut fields = HeaderMap::new();
            fields.insert(ETAG, HeaderValue::from_maybe_shared(value).unwrap());
            fields
        };
        let nothing = Empty::<Bytes>::new().map_err(|never| -> Error { match never {} });
        let mut response = Response::new(nothing.with_trailers(ready(Some(Ok(fields(&behind))))));
        *response.headers_mut() = fields(&head);
        let (response, _driven) = answered(response).unwrap();
        let (kept, mut body) = response.into_parts();
        let next = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(frame))) = next else { panic!("it is there") };
        let trailers = frame.into_trailers().unwrap();
        for (fields, read) in [(&kept.headers, head), (&trailers, behind)] {
            assert_eq!(fields.get(ETAG).unwrap(), "a value");
            assert_eq!(Arc::strong_count(&read), 1);
        }
    }

    #[test]
    fn a_process_that_says_nothing_of_times_waits_for_no_server_for_ever_and_a_call_has_its_own_time() {
        let said = Duration::from_secs(3_600);
        let none = RequestOptions::default();
        let all = Some(PATIENCE);
        assert_eq!(patience(&none, false), Patience::default());
        assert_eq!(patience(&none, true), Patience { connect: all, first_byte: all, between_bytes: all });
        let some = RequestOptions { first_byte_timeout: Some(said), ..RequestOptions::default() };
        let expected = Patience { connect: all, first_byte: Some(said), between_bytes: all };
        assert_eq!(patience(&some, true), expected);
        assert_eq!(patience(&some, false), Patience { first_byte: Some(said), ..Patience::default() });
    }
}
