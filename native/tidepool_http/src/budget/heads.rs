//! What heads of requests and responses take of the server's memory, and trailers do: how many fields they may have, and what counts
//! for these until they are gone.

use crate::budget::shares::Hold;
use bytes::Bytes;
use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

/// Most fields of a request's head, or behind its body. By HTTP/1 there are 100; by HTTP/2 browsers send each cookie in one of its own.
pub(crate) const MOST_FIELDS: usize = 256;

/// What the text of a name takes beside its bytes.
const TEXT_BYTES: usize = 32;

/// How much more fields take than they count as by HTTP/2, where each has its texts and 32 bytes.
const TIMES: usize = 7;

/// What fields take.
pub(crate) fn bytes_of(fields: &HeaderMap) -> usize {
    let texts = fields.keys_len().saturating_mul(TEXT_BYTES);
    [tidepool_fields::map_bytes(fields), texts, texts_of(fields)].into_iter().fold(0, usize::saturating_add)
}

/// What the head of a request takes, with what is made of its texts: names, parameters, and what whoever answers it is told of them.
///
/// By HTTP/1 there may be white space around these texts, of which nobody is told: the head is the buffer that its connection has read it
/// into, for as long as somebody has a part of that. It is not counted here. A connection has one request at a time, and a buffer of as
/// many bytes whether or not its head is complete, so that `max_connections` bounds both. By HTTP/2 a value may be a part of a frame. What
/// functions and recordings have of a head is a copy ([`tidepool_fields::own`]).
pub(crate) fn taken(uri: &Uri, fields: &HeaderMap) -> usize {
    let made = uri_bytes(uri).saturating_mul(2).saturating_add(texts_of(fields));
    bytes_of(fields).saturating_add(made)
}

/// What is asked for, in bytes.
pub(crate) fn uri_bytes(uri: &Uri) -> usize {
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    uri.path_and_query().map_or(0, |path| path.as_str().len()).saturating_add(authority)
}

/// What trailers may take that come by HTTP/2 before anybody asks for them, where a head may have so many bytes: nobody has counted their
/// fields then.
pub(crate) fn most_unasked(max_header_bytes: usize) -> usize {
    max_header_bytes.saturating_mul(TIMES)
}

fn texts_of(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len())).fold(0, usize::saturating_add)
}

/// Bytes that give a share of the budget back when nothing refers to them any more.
struct Carrying {
    bytes: Bytes,
    _hold: Arc<Hold>,
}

impl AsRef<[u8]> for Carrying {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// These bytes, which have the hold for as long as they are there, whoever has them.
pub(crate) fn carrying(bytes: impl Into<Bytes>, hold: &Arc<Hold>) -> Bytes {
    Bytes::from_owner(Carrying { bytes: bytes.into(), _hold: Arc::clone(hold) })
}

/// Fields of a response that do not stay in it until it is written.
const REPLACED: [&str; 9] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "strict-transport-security",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Has fields keep the hold until they are written, or given up. By HTTP/2 they wait for that in a queue of their connection, as many of
/// them as its client has asked for.
pub(crate) fn carry(fields: &mut HeaderMap, hold: Hold) {
    let stays = |name: &HeaderName| !REPLACED.contains(&name.as_str());
    let Some((_name, value)) = fields.iter_mut().find(|(name, _value)| stays(name)) else { return };
    let bytes = carrying(Bytes::copy_from_slice(value.as_bytes()), &Arc::new(hold));
    if let Ok(mut carrier) = HeaderValue::from_maybe_shared(bytes) {
        // Or the connection would remember it among the fields that it need not send again, and the hold with it.
        carrier.set_sensitive(true);
        *value = carrier;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::budget::shares::{Accounts, BodyBudget};

    /// As they come, one after the other.
    fn fields(names: impl Iterator<Item = String>, value: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for name in names {
            fields.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        fields
    }

    fn hold(budget: &Arc<BodyBudget>, bytes: usize) -> Hold {
        let mut hold = budget.hold(&Accounts::default());
        assert!(hold.grow(bytes));
        hold
    }

    #[test]
    fn fields_take_many_times_their_bytes_and_no_more_than_is_counted() {
        // As many as 64 KiB have room for by HTTP/2, each of a name of its own and without a value.
        let many = fields((0..1_900).map(|number| format!("{number:x}")), "");
        assert!((200_000..most_unasked(64 << 10)).contains(&bytes_of(&many)), "{}", bytes_of(&many));
        let repeated = fields((0..1_900).map(|_| "a".to_owned()), "");
        assert!((200_000..most_unasked(64 << 10)).contains(&bytes_of(&repeated)), "{}", bytes_of(&repeated));
        let long = fields((0..60).map(|number| format!("{number}")), &"x".repeat(1_000));
        assert!((60_000..most_unasked(64 << 10)).contains(&bytes_of(&long)), "{}", bytes_of(&long));
        assert_eq!(bytes_of(&HeaderMap::new()), 0);
        let uri: Uri = format!("http://localhost/{}?{}", "a".repeat(99), "b".repeat(900)).parse().unwrap();
        assert_eq!((uri_bytes(&uri), taken(&uri, &HeaderMap::new())), (1_010, 2_020));
    }

    #[test]
    fn fields_have_their_hold_until_the_last_of_them_is_gone() {
        let budget = BodyBudget::new(100);
        let mut response = fields(["te", "x-one", "x-two"].into_iter().map(str::to_owned), "1");
        let before = response.clone();
        carry(&mut response, hold(&budget, 50));
        assert_eq!((&response, budget.held()), (&before, 50));
        // What is not written of a response takes nothing of it along.
        response.remove("te");
        assert_eq!(budget.held(), 50);
        let copy = response.clone();
        drop(response);
        assert_eq!(budget.held(), 50);
        assert!(copy.values().any(HeaderValue::is_sensitive), "it stays in no table of the connection's");
        drop(copy);
        assert_eq!(budget.held(), 0);
        // Where nothing stays there is nothing to count.
        for names in ["", "te date"] {
            let mut response = fields(names.split_whitespace().map(str::to_owned), "1");
            carry(&mut response, hold(&budget, 50));
            assert_eq!(budget.held(), 0);
        }
    }

    #[test]
    fn a_text_has_its_hold_for_as_long_as_a_part_of_it_is_there() {
        let budget = BodyBudget::new(100);
        let held = Arc::new(hold(&budget, 50));
        let text = carrying("a text".to_owned(), &held);
        drop(held);
        let part = text.slice(2..);
        drop(text);
        assert_eq!((part.as_ref(), budget.held()), (b"text".as_slice(), 50));
        drop(part);
        assert_eq!(budget.held(), 0);
    }
}
