//! Every refusal the edge itself gives: reason, status, and its JSON.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::message::response::Response;

/// Why the edge refused a request. Clients match on [`Reason::name`]; messages may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No such route.
    NotFound,
    /// The route exists, not with this method.
    MethodNotAllowed,
    /// Token missing or wrong.
    Unauthorized,
    /// The token is for something else.
    Forbidden,
    /// A web page of another site asks for a change, and no token vouches for it.
    CrossSite,
    /// No `Host` header, or more than one.
    InvalidHost,
    /// The request is for a host that this server is not.
    UnknownHost,
    /// A request in the clear to a server that speaks TLS.
    TlsNeeded,
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
    pub const ALL: [Self; 23] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::CrossSite,
        Self::InvalidHost,
        Self::UnknownHost,
        Self::TlsNeeded,
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

    /// The stable name in `error.reason`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::CrossSite => "cross_site",
            Self::InvalidHost => "invalid_host",
            Self::UnknownHost => "unknown_host",
            Self::TlsNeeded => "tls_needed",
            Self::InvalidPath => "invalid_path",
            Self::InvalidQuery => "invalid_query",
            Self::PayloadTooLarge => "payload_too_large",
            Self::TooLarge => "too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyIncomplete => "body_incomplete",
            Self::NotMultipart => "not_multipart",
            Self::MalformedForm => "malformed_form",
            Self::MissingField => "missing_field",
            Self::DuplicateField => "duplicate_field",
            Self::InvalidField => "invalid_field",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Aborted => "aborted",
            Self::BackendPanicked => "backend_panicked",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        static STATUSES: LazyLock<[Option<u16>; Reason::ALL.len()]> =
            LazyLock::new(|| Reason::ALL.map(|reason| table::row(reason.name())?.status()));
        // A test sees to it that each is in the table.
        STATUSES.get(self as usize).copied().flatten().unwrap_or(500)
    }
}

/// The table of all errors, Elixir's among them, which reads the same file.
mod table {
    const TEXT: &str = include_str!("errors.tsv");

    /// A row as it is written.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Row {
        #[cfg_attr(not(test), allow(dead_code, reason = "what the test below holds the table to"))]
        pub(super) told_of: &'static str,
        status: &'static str,
    }

    impl Row {
        /// The exclamation mark is for Elixir.
        pub(super) fn status(self) -> Option<u16> {
            self.status.trim_end_matches('!').parse().ok()
        }
    }

    pub(super) fn row(name: &str) -> Option<Row> {
        TEXT.lines().find_map(|line| {
            let mut fields = line.split('\t');
            if fields.next()? != name {
                return None;
            }
            Some(Row { told_of: fields.next()?, status: fields.next()? })
        })
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_is_listed_once_in_the_order_of_its_counter() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
        assert_eq!(Reason::ALL.iter().map(|reason| reason.name()).collect::<HashSet<_>>().len(), Reason::ALL.len());
    }

    #[test]
    fn every_reason_is_in_the_table_of_errors_with_a_status() {
        for reason in Reason::ALL {
            let row = table::row(reason.name()).unwrap();
            assert!(row.told_of.split(' ').any(|subject| subject == "edge"), "{}", reason.name());
            assert_eq!(row.status(), Some(reason.status()));
            assert!(reason.status() >= 400);
        }
    }
}
