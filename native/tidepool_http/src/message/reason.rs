//! Every refusal the edge itself gives: reason, status, and its JSON.

use crate::message::response::Response;
use serde_json::{Map, Value, json};

/// Why the edge refused a request. Clients match on [`Reason::name`]; messages may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No such route.
    NotFound,
    /// The route exists, not with this method.
    MethodNotAllowed,
    /// Token missing or wrong.
    Unauthorized,
    /// A web page of another site asks for a change, and no token vouches for it.
    CrossSite,
    /// No `Host` header, or more than one.
    InvalidHost,
    /// The request is for a host that this server is not.
    UnknownHost,
    /// A path segment is not percent-encoded UTF-8.
    InvalidPath,
    /// The query string is not percent-encoded, or names a parameter twice.
    InvalidQuery,
    /// A call's payload is above its limit.
    PayloadTooLarge,
    /// A module is above its limit.
    TooLarge,
    /// The body took too long to come.
    BodyTimeout,
    /// The body ended early.
    BodyIncomplete,
    /// A deploy that is not a form.
    NotMultipart,
    /// A form that can't be read.
    MalformedForm,
    /// A form without a field that is needed.
    MissingField,
    /// A form with the module twice.
    DuplicateField,
    /// A field that is not what it should be.
    InvalidField,
    /// Too many requests or bytes in flight.
    Overloaded,
    /// The server is about to stop; calls are still answered.
    Draining,
    /// The backend dropped its responder.
    Aborted,
    /// The backend panicked.
    BackendPanicked,
}

impl Reason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 21] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Unauthorized,
        Self::CrossSite,
        Self::InvalidHost,
        Self::UnknownHost,
        Self::InvalidPath,
        Self::InvalidQuery,
        Self::PayloadTooLarge,
        Self::TooLarge,
        Self::BodyTimeout,
        Self::BodyIncomplete,
        Self::NotMultipart,
        Self::MalformedForm,
        Self::MissingField,
        Self::DuplicateField,
        Self::InvalidField,
        Self::Overloaded,
        Self::Draining,
        Self::Aborted,
        Self::BackendPanicked,
    ];

    const fn row(self) -> (&'static str, u16) {
        match self {
            Self::NotFound => ("not_found", 404),
            Self::MethodNotAllowed => ("method_not_allowed", 405),
            Self::Unauthorized => ("unauthorized", 401),
            Self::CrossSite => ("cross_site", 403),
            Self::InvalidHost => ("invalid_host", 400),
            Self::UnknownHost => ("unknown_host", 421),
            Self::InvalidPath => ("invalid_path", 400),
            Self::InvalidQuery => ("invalid_query", 400),
            Self::PayloadTooLarge => ("payload_too_large", 413),
            Self::TooLarge => ("too_large", 413),
            Self::BodyTimeout => ("body_timeout", 408),
            Self::BodyIncomplete => ("body_incomplete", 400),
            Self::NotMultipart => ("not_multipart", 415),
            Self::MalformedForm => ("malformed_form", 400),
            Self::MissingField => ("missing_field", 400),
            Self::DuplicateField => ("duplicate_field", 400),
            Self::InvalidField => ("invalid_field", 400),
            Self::Overloaded => ("overloaded", 503),
            Self::Draining => ("draining", 503),
            Self::Aborted => ("aborted", 500),
            Self::BackendPanicked => ("backend_panicked", 500),
        }
    }

    /// The stable name in `error.reason`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().1
    }
}

/// Characters of what a client has sent that a refusal shows.
const SHOWN: usize = 256;

/// The beginning of what a client has sent.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// A refusal on its way to the client.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    message: String,
    details: Map<String, Value>,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    /// `message` tells the reader what to do about it.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), details: Map::new(), headers: Vec::new() }
    }

    /// Adds a member to the error object.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a response header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn into_response(self) -> Response {
        let mut error = self.details;
        error.insert("reason".to_owned(), self.reason.name().into());
        error.insert("message".to_owned(), self.message.into());
        let mut response = Response::json(self.reason.status(), &json!({ "error": error }));
        response.headers = self.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_is_listed_once_in_the_order_of_its_counter() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
        assert_eq!(Reason::ALL.iter().map(|reason| reason.name()).collect::<HashSet<_>>().len(), Reason::ALL.len());
    }
}
