//! Numbers and bytes as recordings have them: numbers in groups of seven bits, the lowest first; bytes behind their length.

use bytes::Bytes;

use super::damaged::Damaged;

/// What is written.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    pub(super) fn size(&mut self, size: usize) {
        self.number(u64::try_from(size).unwrap_or(u64::MAX));
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Whether there is one, and what `write` makes of it.
    pub(super) fn option<T>(&mut self, option: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(option.is_some()));
        if let Some(value) = option {
            write(self, value);
        }
    }
}

/// Bytes of a number: one for each seven bits, and one for 0.
pub(super) fn number_bytes(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(usize::MAX)
}

/// What is read, of which nothing is believed.
pub(super) struct Reader {
    pub(super) rest: Bytes,
    /// Memory that it may yet take for what is in lists, or has a place of its own.
    room: usize,
    /// Is what is in lists kept, and not passed over?
    keeps: bool,
}

/// Memory that what is read may take beside its bytes: more than a tape has that is kept.
pub(super) const ROOM: usize = 256 << 20;

impl Reader {
    pub(super) fn of(rest: Bytes) -> Self {
        Reader { rest, room: ROOM, keeps: true }
    }

    /// The memory that what was read takes beside its bytes, or would if it was passed over.
    pub(super) fn taken(&self) -> usize {
        ROOM.saturating_sub(self.room)
    }

    /// The bytes of what `one` reads, which is passed over: no list of it is there.
    pub(super) fn passed(&mut self, one: impl FnOnce(&mut Self) -> Result<(), Damaged>) -> Result<Bytes, Damaged> {
        let (before, keeps) = (self.rest.clone(), std::mem::replace(&mut self.keeps, false));
        let passed = one(self);
        self.keeps = keeps;
        passed.map(|()| before.slice(..before.len().saturating_sub(self.rest.len())))
    }

    /// So many of the same, one after the other.
    pub(super) fn several<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        let count = self.size()?;
        // What is in the list takes more than its bytes; the list, as it grows, up to twice as much.
        self.room = count
            .checked_mul(2 * size_of::<T>())
            .and_then(|taken| self.room.checked_sub(taken))
            .ok_or(Damaged::Form)?;
        if !self.keeps {
            (0..count).try_for_each(|_| one(self).map(drop))?;
            return Ok(Vec::new());
        }
        let mut several = (0..count).map(|_| one(self)).collect::<Result<Vec<T>, Damaged>>()?;
        // A replay has them for as long as it goes on.
        several.shrink_to_fit();
        Ok(several)
    }

    /// The same of no more than `most`: of more none is read.
    pub(super) fn few<T>(
        &mut self,
        most: usize,
        one: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        let count = Reader::of(self.rest.clone()).size()?;
        if count <= most { self.several(one) } else { Err(Damaged::Form) }
    }

    /// One in a place of its own, of which there are as many as there are bytes.
    pub(super) fn boxed<T>(&mut self, one: impl FnOnce(&mut Self) -> Result<T, Damaged>) -> Result<Box<T>, Damaged> {
        self.room = self.room.checked_sub(size_of::<T>()).ok_or(Damaged::Form)?;
        one(self).map(Box::new)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let byte = self.rest.first().copied().ok_or(Damaged::Short)?;
        drop(self.rest.split_to(1));
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged::Form)
    }

    /// A count of things that take a byte each at least.
    pub(super) fn size(&mut self) -> Result<usize, Damaged> {
        let size = usize::try_from(self.number()?).map_err(|_| Damaged::Form)?;
        if size <= self.rest.len() { Ok(size) } else { Err(Damaged::Short) }
    }

    pub(super) fn raw(&mut self, size: usize) -> Result<Bytes, Damaged> {
        if size <= self.rest.len() { Ok(self.rest.split_to(size)) } else { Err(Damaged::Short) }
    }

    pub(super) fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Damaged> {
        self.raw(SIZE)?.first_chunk().copied().ok_or(Damaged::Short)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Damaged> {
        let size = self.size()?;
        self.raw(size)
    }

    pub(super) fn text(&mut self) -> Result<String, Damaged> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Damaged::Form)
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Option<T>, Damaged> {
        if self.byte()? == 0 { Ok(None) } else { read(self).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_no_more_memory_than_there_is_room_for_all_of_them() {
        let list = || Reader::of(Bytes::from_static(&[3, 7, 7, 7, 3, 7, 7, 7]));
        let numbers = |reader: &mut Reader| reader.several(Reader::number);
        for (room, read) in [(95, 1), (96, 2), (47, 0), (48, 1)] {
            let mut reader = Reader { room, ..list() };
            let lists = (0..2).filter(|_list| numbers(&mut reader) == Ok(vec![7; 3])).count();
            assert_eq!(lists, read, "with room for {room} bytes");
        }
    }
}
