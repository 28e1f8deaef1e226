//! The trace context of a request: what its header `traceparent` says, after the W3C's Trace Context.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use std::fmt::{self, Display, Formatter};

const HEADER: &str = "traceparent";
/// What vendors say beside it.
const STATE: &str = "tracestate";
/// `00-` and 32, 16 and 2 digits, with a `-` between each two.
const BYTES: usize = 55;

/// The span that a request is part of, on the side of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The sender's span.
    pub span_id: [u8; 8],
    /// Whether the sender records it.
    pub sampled: bool,
}

impl TraceParent {
    /// What a header says. `None` of one that is not as the specification has it, and that is to be ignored.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (known, rest) = header.split_at_checked(BYTES)?;
        let [v0, v1, b'-', known @ ..] = known else { return None };
        let version = byte(*v0, *v1)?;
        // Later versions may say more, after another `-`.
        let more = version != 0 && rest.first() == Some(&b'-');
        if version == 0xff || !(rest.is_empty() || more) {
            return None;
        }
        let (trace_id, known) = id::<16>(known)?;
        let (span_id, known) = id::<8>(known)?;
        let [f0, f1] = known else { return None };
        Some(TraceParent { trace_id, span_id, sampled: byte(*f0, *f1)? & 1 == 1 })
    }

    /// Writes it into a request, for who gets that: in place of what its sender has said, of which the vendors' part stays if this is a part
    /// of the same trace.
    pub fn put(&self, headers: &mut HeaderMap) {
        if Self::of(headers).is_none_or(|before| before.trace_id != self.trace_id) {
            headers.remove(STATE);
        }
        // Digits and dashes are a header's.
        if let Ok(value) = HeaderValue::try_from(self.to_string()) {
            headers.insert(HEADER, value);
        }
    }

    /// Of a request. One that says it twice says nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(HEADER).iter();
        match (all.next(), all.next()) {
            (Some(one), None) => Self::parse(one.as_bytes()),
            _ => None,
        }
    }
}

impl Display for TraceParent {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str("00")?;
        for id in [&self.trace_id[..], &self.span_id, &[u8::from(self.sampled)]] {
            out.write_str("-")?;
            id.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        }
        Ok(())
    }
}

/// The id that `digits` begin with, and what is after the `-` behind it. One of zeros alone is none.
fn id<const N: usize>(digits: &[u8]) -> Option<([u8; N], &[u8])> {
    let (digits, rest) = digits.split_at_checked(2 * N)?;
    let [b'-', rest @ ..] = rest else { return None };
    let mut id = [0; N];
    for (value, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *value = byte(*high, *low)?;
    }
    (id != [0; N]).then_some((id, rest))
}

/// Small letters only.
fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails here fails the test")]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_as_specified_is_read_and_its_flag_says_whether_the_sender_records() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((parent.trace_id[0], parent.trace_id[15]), (0x0a, 0x9c));
        assert_eq!((parent.span_id[0], parent.span_id[7], parent.sampled), (0xb7, 0x31, true));
        assert!(!TraceParent::parse(GOOD.replace("-01", "-00").as_bytes()).unwrap().sampled);
        assert!(!TraceParent::parse(GOOD.replace("-01", "-02").as_bytes()).unwrap().sampled);
    }

    #[test]
    fn what_is_written_reads_the_same_and_what_vendors_have_said_stays_within_a_trace() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.to_string(), GOOD);
        let here = TraceParent { span_id: [7; 8], sampled: false, ..parent };
        let elsewhere = TraceParent { trace_id: [7; 16], ..here };
        let asked = |lines: &[&'static str]| -> HeaderMap {
            let lines = lines.iter().map(|line| (HEADER, *line)).chain([(STATE, "a=1"), (STATE, "b=2")]);
            lines.map(|(name, line)| (name.parse().unwrap(), HeaderValue::from_static(line))).collect()
        };
        for (span, lines, states) in [
            (here, &[GOOD][..], 2),
            (elsewhere, &[GOOD], 0),
            (here, &[GOOD, GOOD], 0),
            (here, &["what"], 0),
            (here, &[], 0),
        ] {
            let mut headers = asked(lines);
            span.put(&mut headers);
            let said: Vec<_> = headers.get_all(HEADER).iter().collect();
            assert_eq!(said, [span.to_string().as_str()], "{lines:?}");
            assert_eq!(headers.get_all(STATE).iter().count(), states, "{lines:?}");
        }
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read() {
        let later = GOOD.replacen("00", "cc", 1);
        assert!(TraceParent::parse(later.as_bytes()).is_some());
        assert!(TraceParent::parse(format!("{later}-what").as_bytes()).is_some());
        assert!(TraceParent::parse(format!("{later}what").as_bytes()).is_none());
    }

    #[test]
    fn whatever_else_a_header_says_it_says_nothing() {
        let zeros = ("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000");
        for bad in [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-what"),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace(zeros.0, zeros.1),
            GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            GOOD.replace('-', "_"),
            GOOD.replace("b7ad", "b7ag"),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
        for length in 0..GOOD.len() {
            let mut broken = GOOD.as_bytes().to_vec();
            broken[length] = 0xff;
            assert_eq!(TraceParent::parse(&broken), None);
        }
    }
}
