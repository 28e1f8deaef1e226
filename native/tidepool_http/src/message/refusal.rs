//! A refusal that the edge itself gives: its reason, of the table of all errors, and its JSON.

use serde_json::{Map, Value, json};
use tidepool_errors::Reason;

use crate::message::response::Response;

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
    pub(crate) message: String,
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
        let mut response = Response::json(self.reason.status(None).unwrap_or(500), &json!({ "error": error }));
        response.headers = self.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        response
    }
}
