//! A response while it goes: what tells it from all others, whichever pieces its body came in.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;

use crate::recording::outcome::{Answered, HEAD_BYTES};

/// What is kept of a response while it goes.
pub(crate) struct Transcript {
    hasher: blake3::Hasher,
    head: Vec<u8>,
    /// Bytes of its body.
    size: u64,
    trailers: Vec<u8>,
}

impl Transcript {
    /// That of a response of which only the head is there.
    pub(crate) fn begin<B>(response: &Response<B>) -> Self {
        let mut head = format!("HTTP {}\n", response.status().as_u16()).into_bytes();
        head.extend(lines(response.headers()));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&u64::try_from(head.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(&head);
        head.push(b'\n');
        Transcript { hasher, head, size: 0, trailers: Vec::new() }
    }

    /// The next of its pieces.
    pub(crate) fn add(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.hasher.update(data);
            self.size = self.size.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            let room = HEAD_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers.extend(lines(trailers));
        }
    }

    /// All of it, which its guest has given up or not.
    pub(crate) fn end(mut self, is_given_up: bool) -> Answered {
        self.hasher.update(&self.trailers);
        self.hasher.update(&self.size.to_le_bytes());
        self.hasher.update(&[u8::from(is_given_up)]);
        let digest = self.hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default();
        self.head.truncate(HEAD_BYTES);
        Answered { size: self.size, digest, head: self.head.into() }
    }
}

/// A line for each header, in the order of their names: that in which a guest sets them says nothing.
fn lines(headers: &HeaderMap) -> Vec<u8> {
    let mut all: Vec<_> = headers.iter().collect();
    all.sort_by_key(|(name, _value)| name.as_str());
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat()
    };
    all.into_iter().flat_map(line).collect()
}
