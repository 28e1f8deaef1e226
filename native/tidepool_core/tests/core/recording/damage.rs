//! A recording taken apart, so that some of what a guest was told can be left out, or told otherwise; by what the format is said to be,
//! not by the code that reads it.

use bytes::Bytes;

/// Kinds of entries, by the byte that they begin with.
pub(super) const WALL: u8 = 0;
pub(super) const MONOTONIC: u8 = 1;
pub(super) const RANDOM: u8 = 2;
pub(super) const WAITED: u8 = 3;
pub(super) const REFUSED: u8 = 4;
pub(super) const ANSWERED: u8 = 5;
pub(super) const ANSWERED_VALUE: u8 = 7;
pub(super) const SAID: u8 = 16;

/// What was told before the first call, or in a call; and what is written before that.
#[derive(Clone)]
struct Section {
    before: Vec<u8>,
    entries: Vec<Vec<u8>>,
}

/// A recording.
#[derive(Clone)]
pub(super) struct Parts {
    head: Vec<u8>,
    sections: Vec<Section>,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn number(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        assert!(self.at <= self.bytes.len());
    }

    fn text(&mut self) {
        let size = self.number();
        self.skip(size);
    }

    fn option(&mut self, some: impl FnOnce(&mut Self)) {
        if self.byte() != 0 {
            some(self);
        }
    }

    fn outcome(&mut self) {
        if self.byte() == 0 {
            self.number();
            self.skip(16);
            return self.text();
        }
        self.text();
        self.option(Self::text);
        self.text();
        for _ in 0..self.number() {
            self.number();
            self.option(|cursor| {
                cursor.number();
            });
            self.text();
        }
    }

    fn value(&mut self) {
        match self.byte() {
            0 => {}
            2 => self.skip(16),
            tag => panic!("these tests have no values of kind {tag}"),
        }
    }

    /// What it was asked with: so many bytes, or a digest.
    fn print(&mut self) {
        let bytes = match self.byte() {
            0xff => 16,
            short => usize::from(short),
        };
        self.skip(bytes);
    }

    fn entry(&mut self) {
        match self.byte() {
            WALL | MONOTONIC | REFUSED => {
                self.number();
            }
            RANDOM | 8 => self.text(),
            WAITED => {
                self.skip(4);
                self.number();
                self.text();
            }
            tag @ 5..=7 => {
                self.text();
                self.number();
                self.print();
                if tag == ANSWERED_VALUE { self.value() } else { self.text() }
            }
            SAID => {
                self.skip(1);
                match self.byte() {
                    0 | 6 => self.text(),
                    1 => drop(self.number()),
                    2..=5 => {}
                    7 => self.headers(),
                    tag => panic!("nothing that begins with {tag} is said"),
                }
            }
            tag => panic!("no entry begins with {tag}"),
        }
    }

    fn headers(&mut self) {
        for _ in 0..2 * self.number() {
            self.text();
        }
    }

    fn section(&mut self, from: usize) -> Section {
        let before = self.bytes[from..self.at].to_vec();
        let entries = (0..self.number()).map(|_| {
            let from = self.at;
            self.entry();
            self.bytes[from..self.at].to_vec()
        });
        Section { before, entries: entries.collect() }
    }
}

impl Parts {
    pub(super) fn of(recording: &Bytes) -> Self {
        assert!(recording.starts_with(b"TIDEREC1"));
        let length =
            |at: usize| usize::try_from(u32::from_le_bytes(recording[at..at + 4].try_into().unwrap())).unwrap();
        let start = 8 + 12 + length(8);
        let within = &recording[start + 12..];
        assert_eq!(within.len(), length(start), "a file has one frame behind its head");
        let mut cursor = Cursor { bytes: within, at: 0 };
        cursor.number();
        cursor.outcome();
        assert_eq!(cursor.byte(), 0, "it is not redacted");
        cursor.text();
        for _ in 0..3 {
            cursor.number();
        }
        assert_eq!(cursor.number(), 0, "all calls are in it");
        if cursor.byte() == 2 {
            cursor.text();
        }
        let mut sections = vec![cursor.section(0)];
        let mut from = cursor.at;
        for _ in 0..cursor.number() {
            cursor.text();
            match cursor.byte() {
                0 => cursor.text(),
                2 => {
                    // The head of a request: method, address, by which scheme, headers.
                    cursor.text();
                    cursor.text();
                    cursor.skip(1);
                    cursor.headers();
                }
                tag => panic!("these tests have no payloads of kind {tag}"),
            }
            sections.push(cursor.section(from));
            from = cursor.at;
        }
        assert_eq!(cursor.at, within.len());
        Parts { head: recording[..start].to_vec(), sections }
    }

    /// Where entries of this kind are.
    pub(super) fn find(&self, kind: u8) -> Vec<(usize, usize)> {
        self.beginning(&[kind])
    }

    /// Where entries are that begin with these bytes.
    pub(super) fn beginning(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let sections = self.sections.iter().enumerate();
        let all = sections.flat_map(|(at, section)| section.entries.iter().enumerate().map(move |it| (at, it)));
        all.filter(|(_at, (_number, entry))| entry.starts_with(bytes))
            .map(|(at, (number, _entry))| (at, number))
            .collect()
    }

    /// Where entries are that answer questions to this import.
    pub(super) fn told(&self, import: &str) -> Vec<(usize, usize)> {
        let asked = |entry: &[u8]| entry[2..].starts_with(import.as_bytes()) && usize::from(entry[1]) == import.len();
        self.find(ANSWERED).into_iter().filter(|at| asked(&self.sections[at.0].entries[at.1])).collect()
    }

    /// The same without this entry.
    pub(super) fn without(&self, (section, entry): (usize, usize)) -> Bytes {
        let mut other = self.clone();
        other.sections[section].entries.remove(entry);
        other.written()
    }

    /// The same with another last byte of this entry.
    pub(super) fn otherwise(&self, (section, entry): (usize, usize)) -> Bytes {
        let mut other = self.clone();
        *other.sections[section].entries[entry].last_mut().unwrap() ^= 1;
        other.written()
    }

    pub(super) fn written(&self) -> Bytes {
        let mut within = Vec::new();
        for section in &self.sections {
            within.extend(&section.before);
            number(&mut within, section.entries.len());
            within.extend(section.entries.concat());
        }
        let mut file = self.head.clone();
        file.extend(u32::try_from(within.len()).unwrap().to_le_bytes());
        file.extend(&blake3::hash(&within).as_bytes()[..8]);
        file.extend(within);
        file.into()
    }
}

fn number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}
