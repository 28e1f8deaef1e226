//! The form of a deploy.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A `multipart/form-data` body that is written field by field.
#[derive(Debug)]
pub(crate) struct Form {
    boundary: String,
    body: Vec<u8>,
}

impl Form {
    /// An empty form. Nobody who writes a field knows its boundary before.
    pub(crate) fn new() -> Self {
        let half = || RandomState::new().hash_one("boundary");
        Self { boundary: format!("tidepool-{:016x}{:016x}", half(), half()), body: Vec::new() }
    }

    /// Is this the name of a field?
    pub(crate) fn is_name(name: &str) -> bool {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    }

    /// Adds a field of text, whose name is one by [`Form::is_name`].
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.part(&format!("name=\"{name}\""), value.as_bytes());
    }

    /// Adds the module.
    pub(crate) fn wasm(&mut self, bytes: &[u8]) {
        self.part("name=\"wasm\"; filename=\"module.wasm\"", bytes);
    }

    fn part(&mut self, disposition: &str, bytes: &[u8]) {
        let head = format!("--{}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n", self.boundary);
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
    }

    /// The content type and the body.
    pub(crate) fn end(mut self) -> (String, Vec<u8>) {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        (format!("multipart/form-data; boundary={}", self.boundary), self.body)
    }
}
