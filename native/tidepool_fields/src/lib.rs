//! Fields of HTTP, of heads and behind bodies: copies that keep nothing of what they were read from, and what a map of them takes.

use http::{HeaderMap, HeaderValue};

/// What a map of fields has for each name that there is room for.
pub const NAME_BYTES: usize = 112;
/// What it has for each further value of a name, in lists that double.
pub const MORE_BYTES: usize = 144;

/// What a map of fields takes beside their texts.
#[must_use]
pub fn map_bytes(fields: &HeaderMap) -> usize {
    let names = fields.capacity().saturating_mul(NAME_BYTES);
    names.saturating_add(fields.len().saturating_sub(fields.keys_len()).saturating_mul(MORE_BYTES))
}

/// A copy of fields that keeps nothing else: each value has a text of its own, which goes with it when a guest takes it out, and there is
/// room for less than twice as many names as there are fields.
///
/// A value may be a part of what was read of its connection, and keep all of that: by HTTP/1 64 KiB for some letters, with white space before
/// them; by HTTP/2 a frame. A map never shrinks, whatever is taken out of it, and hyper uses the one of an earlier response again. Names
/// are copies already.
#[must_use]
pub fn own(fields: &HeaderMap) -> HeaderMap {
    let mut own = HeaderMap::with_capacity(fields.keys_len());
    for (name, value) in fields {
        // What was a value is one.
        let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_none| value.clone());
        copy.set_sensitive(value.is_sensitive());
        // Of very many names with the same hashes it may take none.
        if own.try_append(name.clone(), copy).is_err() {
            return fields.clone();
        }
    }
    own
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::HeaderName;

    use super::*;

    #[test]
    fn values_that_are_copies_keep_nothing_of_what_they_were_read_from() {
        let read: Arc<[u8]> = Arc::from(b"one\t two".as_slice());
        let whole = Bytes::from_owner(Arc::clone(&read));
        let mut fields = HeaderMap::new();
        for part in [0..3, 5..8, 0..0, 0..8] {
            fields.append("x-part", HeaderValue::from_maybe_shared(whole.slice(part)).unwrap());
            fields.append("x-other", HeaderValue::from_static("a"));
        }
        fields.get_mut("x-part").unwrap().set_sensitive(true);
        let copy = own(&fields);
        assert_eq!(copy, fields);
        let sensitive: Vec<bool> = copy.get_all("x-part").iter().map(HeaderValue::is_sensitive).collect();
        assert_eq!(sensitive, [true, false, false, false]);
        drop((fields, whole));
        assert_eq!(Arc::strong_count(&read), 1);
    }

    #[test]
    fn a_value_of_a_copy_keeps_none_of_the_others() {
        let names = ["x-one", "x-two", "x-one", "x-three"];
        let fields: HeaderMap =
            names.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("odd"))).into_iter().collect();
        let copy = own(&fields);
        assert_eq!(copy.len(), 4);
        // What is allocated begins at such an address, and a part of something larger with three bytes before it does not.
        assert!(copy.values().all(|value| value.as_bytes().as_ptr().addr().is_multiple_of(8)));
    }

    #[test]
    fn a_copy_has_room_for_less_than_twice_what_is_in_it_whatever_was_taken_out_before() {
        assert_eq!(map_bytes(&own(&HeaderMap::with_capacity(1_000))), 0);
        for count in 1..300 {
            let mut fields: HeaderMap = (0..1_000_usize)
                .map(|number| (HeaderName::try_from(format!("x{number}")).unwrap(), HeaderValue::from(number)))
                .collect();
            for number in count..1_000 {
                fields.remove(format!("x{number}"));
            }
            assert!(map_bytes(&fields) > 1_000 * NAME_BYTES);
            let copy = own(&fields);
            assert_eq!((copy.len(), &copy), (count, &fields));
            assert!(map_bytes(&copy) < 2 * count * NAME_BYTES, "{count}: {}", copy.capacity());
        }
    }
}
