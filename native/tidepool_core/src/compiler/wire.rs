//! What a node and its compiler's process say to each other. Numbers are little endian.

use std::io::{self, ErrorKind, Read};

/// What is asked of a process, ahead of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) codegen: u8,
    /// Whether numbers that are none have one form.
    pub(super) deterministic: bool,
    pub(super) threads: u32,
    pub(super) memory_bytes: u64,
    pub(super) module_bytes: u64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Outcome {
    /// There is code.
    Code,
    /// The compiler has refused the module.
    Refused,
    /// The compiler could not begin: nothing is known of the module.
    Broken,
}

/// What comes back, ahead of code or of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    /// Of the settings that the code is for.
    pub(super) fingerprint: u64,
    pub(super) bytes: u64,
}

/// Size of a reply's head.
pub(super) const REPLY_BYTES: usize = 17;

impl Request {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.memory_bytes.to_le_bytes(), self.module_bytes.to_le_bytes()];
        [&[self.codegen, u8::from(self.deterministic)], &self.threads.to_le_bytes()[..], numbers.as_flattened()]
            .concat()
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        Ok(Request {
            codegen: u8::from_le_bytes(array(from)?),
            deterministic: array(from)? != [0],
            threads: u32::from_le_bytes(array(from)?),
            memory_bytes: u64::from_le_bytes(array(from)?),
            module_bytes: u64::from_le_bytes(array(from)?),
        })
    }
}

impl Reply {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [&[self.outcome as u8][..], &self.fingerprint.to_le_bytes(), &self.bytes.to_le_bytes()].concat()
    }

    pub(super) fn of_bytes(head: &[u8; REPLY_BYTES]) -> Self {
        let [outcome, numbers @ ..] = *head;
        let (fingerprint, bytes) = numbers.split_at(8);
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        let outcome = match outcome {
            0 => Outcome::Code,
            1 => Outcome::Refused,
            _ => Outcome::Broken,
        };
        Reply { outcome, fingerprint: number(fingerprint), bytes: number(bytes) }
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads `count` bytes, and makes room for them as they come.
pub(super) fn bytes(from: &mut impl Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(count).read_to_end(&mut bytes)?;
    if u64::try_from(read) == Ok(count) { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        for deterministic in [false, true] {
            let request =
                Request { codegen: 3, deterministic, threads: 70_000, memory_bytes: 1 << 40, module_bytes: 7 };
            assert_eq!(Request::read(&mut request.to_bytes().as_slice()).ok(), Some(request));
        }
        for outcome in [Outcome::Code, Outcome::Refused, Outcome::Broken] {
            let reply = Reply { outcome, fingerprint: u64::MAX - 1, bytes: 1 << 33 };
            let head = reply.to_bytes();
            assert_eq!(head.first_chunk().map(Reply::of_bytes), Some(reply));
            assert_eq!(head.len(), REPLY_BYTES);
        }
    }
}
