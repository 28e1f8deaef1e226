//! What requests to servers say of the trace that their guest's call is part of.

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};

/// Of the W3C's [Trace Context](https://www.w3.org/TR/trace-context/).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Says it in the headers of a request, unless the guest has.
pub(in crate::abi) fn put(headers: &mut HeaderMap, trace: Option<&HeaderValue>) {
    if let Some(trace) = trace
        && let Entry::Vacant(place) = headers.entry(TRACEPARENT)
    {
        place.insert(trace.clone());
    }
}
