//! Frames of HTTP/2.

use super::server::exchange_until;
use crate::behaviour::seen;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Behind all frames, so that it is known when they have been read.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0the last";
const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0the last";
const HEAD_BYTES: usize = 9;
/// Longest frame that anybody may send who was not told otherwise.
const MOST_BYTES: usize = 16 << 10;

/// What frames are made of: the heads of requests, mostly.
pub(crate) const WORDS: &[&[u8]] = &[
    b"\x01\x05\x01\x14\x82\x86\x04\x07/call/f\x01\x09localhost",
    b"\x01\x04\x03\x14\x83\x86\x04\x07/call/f\x01\x09localhost",
    b"\x00\x01\x03\x05hello",
    b"\x00\x00\x03\x05hello",
    b"\x00\x09\x03\x05\x02a\0\0\0",
    b"\x03\x00\x01\x04\0\0\0\x08",
    b"\x04\x00\x00\x06\0\x04\0\0\0\0",
    b"\x04\x00\x00\x06\0\x04\x7f\xff\xff\xff",
    b"\x04\x00\x00\x06\0\x01\0\0\0\0",
    b"\x04\x00\x00\x06\0\x05\0\xff\xff\xff",
    b"\x04\x01\x00\x00",
    b"\x05\x04\x01\x04\0\0\0\x02",
    b"\x06\x00\x00\x0812345678",
    b"\x07\x00\x00\x08\0\0\0\0\0\0\0\0",
    b"\x08\x00\x00\x04\x7f\xff\xff\xff",
    b"\x08\x00\x01\x04\0\0\0\0",
    b"\x09\x04\x01\x00",
    b"\x02\x00\x01\x05\0\0\0\x01\x10",
    b"\x82",
    b"\x83",
    b"\x84",
    b"\x86",
    b"\x3f\xe1\x1f",
    b"\x20",
    b"\x40\x01x\x01y",
    b"\x00\x0econtent-length\x015",
    b"\x00\x11transfer-encoding\x07chunked",
    b"\x00\x07:status\x03200",
    b"\x00\x07:method\x07CONNECT",
    b"\x00\x09:protocol\x09websocket",
    b"\x00\x04host\x0cevil.example",
    b"\x04\x07/deploy",
    b"\x04\x07/health",
    b"\x44\x87\x60\xd5\x48\x5f\x2b\xce\x9a",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// Sends frames, each of which `data` have as type, flags, stream, length and content: whole frames come back, none says
/// that the edge failed, and the edge goes on or closes.
///
/// # Panics
/// When that does not hold.
pub fn http2(data: &[u8]) {
    let mut sent = PREFACE.to_vec();
    let mut rest = data;
    while let Some(([ty, flags, stream, len], behind)) = rest.split_first_chunk() {
        let (content, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = behind;
        // Some content is repeated, for frames that are longer than a byte says.
        let times = if ty >> 4 == 0xf { 1 << (ty & 7) } else { 1 };
        let content = content.repeat(times);
        let Ok(len) = u32::try_from(content.len()) else { return };
        sent.extend_from_slice(&len.to_be_bytes()[1..]);
        sent.extend_from_slice(&[ty & 0xf, *flags, 0, 0, 0, *stream]);
        sent.extend_from_slice(&content);
    }
    sent.extend_from_slice(PING);
    let got = exchange_until(&[&sent], |bytes| bytes.windows(PONG.len()).any(|window| window == PONG));
    let mut frames = got.bytes.as_slice();
    let mut count = 0_usize;
    while let Some((head, behind)) = frames.split_first_chunk::<HEAD_BYTES>() {
        let [high, middle, low, ty, flags, a, b, c, d] = *head;
        let len = u32::from_be_bytes([0, high, middle, low]) as usize;
        let stream = u32::from_be_bytes([a, b, c, d]);
        assert!(len <= MOST_BYTES && ty <= 9, "a frame of type {ty} and {len} bytes");
        let Some(content) = behind.get(..len) else {
            assert!(got.cut, "a frame that is cut short");
            return;
        };
        let on_stream = matches!(ty, 0 | 1 | 9);
        assert!(!on_stream || stream % 2 == 1, "a frame of type {ty} on stream {stream}");
        // The status stands first; this is 500, as the static table has it.
        assert!(ty != 1 || content.first() != Some(&0x8e), "the edge failed");
        let error = if matches!(ty, 3 | 7) { content.last() } else { None };
        seen(&(ty, flags, content.first().filter(|_| ty == 1), error, count.min(6)));
        frames = &behind[len..];
        count += 1;
    }
}
