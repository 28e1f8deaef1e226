//! The backend: what the edge asks of the side that runs the functions.

use crate::backend::exchange::ExchangeRequest;
use crate::backend::intake::BodyReader;
use crate::backend::responder::{Answer, Deferral};
use crate::backend::token::Token;
use crate::budget::peers::Peer;
use crate::message::traceparent::TraceParent;
use bytes::Bytes;
use std::sync::Arc;
use tidepool_errors::Reason;

/// Answers requests. The edge calls it from its connection tasks, many at once.
pub trait Backend: Send + Sync + 'static {
    /// Takes one request over. Other connections wait while this runs, so it returns soon: with the answer, or with a
    /// responder made that answers later.
    ///
    /// A responder is answered once, from any thread. Dropped without an answer, it gives the client 500 `aborted`. A
    /// panic here gives the client 500 `backend_panicked`.
    fn request(&self, route: Route, deferral: Deferral<'_>) -> Answer;

    /// How many bytes the payload of a call may have, asked before a body is read; `None` when there is no such function
    /// here, by what is known at once: see [`Route::Admit`]. Returns at once. A backend that doesn't say takes any.
    fn payload_limit(&self, function: &str) -> Option<u64> {
        let _ = function;
        Some(u64::MAX)
    }

    /// Whether the function handles requests of HTTP itself, all of those below its path; `None` when there is no such function here, by
    /// what is known at once. Returns at once.
    fn handles_http(&self, function: &str) -> Option<bool> {
        self.payload_limit(function).map(|_| false)
    }

    /// Whose a request is of [`Serves::Sites`](crate::Serves::Sites), by its host, without a port, and its path. Returns at once.
    fn site(&self, host: &str, path: &str) -> Option<String> {
        let _ = (host, path);
        None
    }

    /// An empty buffer that `bytes` fit into, for a body that comes in several frames or goes in several pieces. A backend
    /// may have one left from a body before.
    fn buffer(&self, bytes: usize) -> Vec<u8> {
        Vec::with_capacity(bytes)
    }

    /// What was put into a buffer of [`Backend::buffer`], which the backend gets back when the last clone is dropped.
    fn joined(&self, buffer: Vec<u8>) -> Bytes {
        buffer.into()
    }

    /// Hears of a request that the edge has refused although it asked for a change or for what the token guards, or because of
    /// the host that it names. Some in some seconds are told, with how many there were before each that were not. Must
    /// return at once.
    fn refused(&self, _refused: Refused) {}
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// From where.
    pub peer: Peer,
    /// The request has the server's token, or one that was made here. False where the server has none.
    pub has_token: bool,
    /// The one that was made here, if it is one.
    pub token: Option<Arc<Token>>,
}

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Method and path, cut short.
    pub request: String,
    /// Why.
    pub reason: Reason,
    /// From where.
    pub peer: Peer,
    /// How many were refused before it since one was told.
    pub left_out: u64,
}

/// What a request asks for, read in full and within its limits.
#[derive(Debug)]
pub enum Route {
    /// `POST /deploy`.
    Deploy(Deploy, Caller),
    /// `GET|POST /call/{function}` and `/call/{function}/{operation}`.
    Call {
        /// Name in the path, percent-decoded.
        function: String,
        /// Second segment of the path, percent-decoded.
        operation: Option<String>,
        /// Body of a POST; `payload` of the query of a GET.
        payload: Bytes,
        /// What it is part of, if [`crate::Config::trace_contexts`] are read.
        trace: Option<TraceParent>,
    },
    /// A call with a body, of a function that [`Backend::payload_limit`] knows nothing of. An answer with the status 100
    /// lets the body in; any other is the answer of the call, and nothing of its body is read.
    Admit {
        /// Name in the path, percent-decoded.
        function: String,
    },
    /// A call whose body is above [`Backend::payload_limit`]. The answer says so; the body is gone.
    Oversized {
        /// Name in the path, percent-decoded.
        function: String,
    },
    /// `GET /health`.
    Health,
    /// Any request for a function that [`Backend::handles_http`].
    Exchange(Box<ExchangeRequest>),
    /// What a row of [`crate::Config::endpoints`] is for.
    Resource(Box<ResourceRequest>),
}

/// A request that a row of [`crate::Config::endpoints`] lets in.
#[derive(Debug)]
pub struct ResourceRequest {
    /// Which row, from 0.
    pub endpoint: usize,
    /// The row's method; of a HEAD that is `GET`, and the edge keeps the body back.
    pub method: String,
    /// All segments of the path, percent-decoded.
    pub segments: Vec<String>,
    /// Parameters of the query in their order, decoded, if the row wants them.
    pub query: Vec<(String, String)>,
    /// Those of the headers that the row wants which are there, in lower case; of several with a name the first.
    pub headers: Vec<(String, Bytes)>,
    /// What the row takes of the body.
    pub body: RequestBody,
    /// The caller.
    pub caller: Caller,
}

/// The body of a [`ResourceRequest`].
#[derive(Debug)]
pub enum RequestBody {
    /// The row takes none.
    Nothing,
    /// All of it.
    Whole(Bytes),
    /// It comes as it is asked for.
    Pieces(BodyReader),
}

/// The form of a deploy. What fields there are and what they mean is the backend's.
#[derive(Debug, Default)]
pub struct Deploy {
    /// The uploaded file, as it came: not known to be a module. None, where a field says where it is.
    pub wasm: Option<Bytes>,
    /// Last segment of the file name the client gave with it.
    pub file_name: Option<String>,
    /// The other fields in their order, unread: `("name", "hello")`.
    pub fields: Vec<(String, String)>,
    /// Parameters of the query string in their order, decoded, such as `("wait", "all")`.
    pub query: Vec<(String, String)>,
    /// What it is part of, if [`crate::Config::trace_contexts`] are read.
    pub trace: Option<TraceParent>,
}
