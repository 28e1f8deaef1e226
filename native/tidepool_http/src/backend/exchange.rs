//! A request that its function handles as HTTP: head and body go to the backend as they came, and so does its response back.

use crate::message::traceparent::TraceParent;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use std::io;

/// A body, in pieces. Its error says why the rest does not come: [`ErrorKind::FileTooLarge`](io::ErrorKind::FileTooLarge) and
/// [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut) by who sends it, anything else when one of both is gone.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A request for a function that handles HTTP.
#[derive(Debug)]
pub struct ExchangeRequest {
    /// The function's name.
    pub function: String,
    /// The request. Its URI has an authority, and the path that the function is to see.
    pub request: hyper::Request<Body>,
    /// Whether it came by TLS.
    pub is_secure: bool,
    /// What it is part of, if [`crate::Config::trace_contexts`] are read.
    pub trace: Option<TraceParent>,
}
