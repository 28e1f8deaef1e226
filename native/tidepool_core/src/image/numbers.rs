//! Numbers in images: lengths, and the values of globals.

use wasmtime::{V128, Val};

use super::ImageError;
use super::head::array;

/// Writes a number in as few bytes as it needs, seven bits in each.
pub(super) fn write(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Most bytes of a number.
pub(super) const MAX_BYTES: usize = 10;

/// What is left to read of some bytes.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next byte, which stays.
    pub(super) fn first(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ImageError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ImageError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        array(self.take(N)?)
    }

    pub(super) fn number(&mut self) -> Result<usize, ImageError> {
        let mut number = 0_u64;
        for place in 0..MAX_BYTES as u32 {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7F);
            let shifted = bits << (7 * place).min(63);
            if shifted >> (7 * place).min(63) != bits {
                break;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return usize::try_from(number).map_err(|_large| ImageError::Damaged);
            }
        }
        Err(ImageError::Damaged)
    }

    /// The value of a global.
    pub(super) fn value(&mut self) -> Result<Val, ImageError> {
        let [kind] = self.array()?;
        Ok(match kind {
            0 => Val::I32(i32::from_le_bytes(self.array()?)),
            1 => Val::I64(i64::from_le_bytes(self.array()?)),
            2 => Val::F32(u32::from_le_bytes(self.array()?)),
            3 => Val::F64(u64::from_le_bytes(self.array()?)),
            4 => Val::V128(V128::from(u128::from_le_bytes(self.array()?))),
            _ => return Err(ImageError::Damaged),
        })
    }
}

/// Writes the value of a global; `false` when it is a reference.
pub(super) fn write_value(value: &Val, bytes: &mut Vec<u8>) -> bool {
    let mut put = |kind: u8, value: &[u8]| {
        bytes.push(kind);
        bytes.extend_from_slice(value);
        true
    };
    match value {
        Val::I32(value) => put(0, &value.to_le_bytes()),
        Val::I64(value) => put(1, &value.to_le_bytes()),
        Val::F32(bits) => put(2, &bits.to_le_bytes()),
        Val::F64(bits) => put(3, &bits.to_le_bytes()),
        Val::V128(value) => put(4, &value.as_u128().to_le_bytes()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_was_written_and_one_that_is_too_large_is_refused() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write(number, &mut bytes);
            assert!(bytes.len() <= MAX_BYTES);
            assert_eq!(Bytes(&bytes).number().ok(), usize::try_from(number).ok());
        }
        for wrong in [&[0x80][..], &[0xFF; 10], &[0xFF; 11], &[]] {
            assert_eq!(Bytes(wrong).number(), Err(ImageError::Damaged));
        }
    }
}
