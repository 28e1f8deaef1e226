//! A process that has left its stack, as bytes that hold all of it: for a disk, or another node.
//!
//! | bytes | |
//! | --- | --- |
//! | 0–7 | `TIDEPROC` |
//! | 8–9 | the format, little-endian |
//! | 10–25 | 16 bytes of the BLAKE3 digest of all that follows |
//!
//! What follows is written as recordings are: numbers in groups of seven bits, bytes behind their length. At its end is the image of its
//! instance, which says of which module it is, and holds memory and globals where they are not as the module declares them. Times are
//! what is left of them. Whoever reads these bytes believes nothing of them.

use bytes::Bytes;

use super::begun::Begun;
use super::letter::Letter;
use crate::recording::bytes::{Reader, Writer};
use crate::recording::damaged::Damaged;

const MAGIC: &[u8; 8] = b"TIDEPROC";
const FORMAT: u16 = 1;
const DIGEST: usize = 16;
/// Words of a frame that belong together.
const GROUP: usize = 4;

/// A process without an instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Packed {
    /// How frames are laid out in it.
    pub(crate) layout: u32,
    pub(crate) begun: Begun,
    /// The export that it runs.
    pub(crate) entry: String,
    /// The import that it waits in, and what is left of that in ns; `None` is for ever.
    pub(crate) module: String,
    pub(crate) import: String,
    pub(crate) left_ns: Option<u64>,
    /// The most memory that it may have, in bytes, and what it has computed, in ns.
    pub(crate) most_memory: u64,
    pub(crate) cpu_ns: u64,
    /// Its frames, the outermost last.
    pub(crate) groups: Vec<[i64; GROUP]>,
    pub(crate) kept: Kept,
    pub(crate) mailbox: Mail,
    pub(crate) image: Bytes,
}

/// What its host keeps for a guest, by handles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The message that it writes or reads, and where it goes on with that.
    pub(crate) scratch: Option<(Letter, u64)>,
    pub(crate) errors: Handed<String>,
    /// Messages that come later: whose they are, and their numbers there.
    pub(crate) timers: Handed<(u64, u64)>,
}

/// Handles with what they stand for, and the next one that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handed<T> {
    pub(crate) next: u64,
    pub(crate) entries: Vec<(u64, T)>,
}

/// What has come to a process, and what is to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mail {
    /// Messages in the order of their arrival.
    pub(crate) messages: Vec<Letter>,
    /// Those that come at a time: their numbers, and when they do, in ns; and the next number.
    pub(crate) due: Vec<(u64, u64, Letter)>,
    pub(crate) next: u64,
}

/// Why bytes are no process that could go on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// They do not begin like one.
    #[error("these bytes are no process: they do not begin with TIDEPROC")]
    NoProcess,
    /// They are not what was written.
    #[error("the process is damaged: its bytes are not those that were written")]
    Damaged,
    /// A later version wrote it.
    #[error("the process has format {found}, and this version reads {FORMAT}: start a newer one")]
    Newer {
        /// Its format.
        found: u16,
    },
    /// They are, and mean nothing.
    #[error("the process has a form that this version of Tidepool does not read")]
    Form,
    /// Its frames are those of other second bodies.
    #[error("the process left its stack in a version of Tidepool that lays frames out otherwise: go on with it there")]
    Layout,
    /// It waits in what is no wait here.
    #[error("the process waits in an import that this version of Tidepool can't call again")]
    Wait,
    /// There are no processes of this module that move.
    #[error("the function's module was not compiled as one of processes that move: deploy it as that")]
    Fixed,
}

impl From<Damaged> for Unfit {
    fn from(_damaged: Damaged) -> Self {
        // Its digest is right: what is wrong has been written so.
        Unfit::Form
    }
}

impl<T> Default for Handed<T> {
    fn default() -> Self {
        Handed { next: 0, entries: Vec::new() }
    }
}

impl Packed {
    /// As bytes.
    pub(crate) fn write(&self) -> Bytes {
        let mut writer = Writer::default();
        let Packed { layout, begun, entry, module, import, left_ns, most_memory, cpu_ns, .. } = self;
        writer.number(u64::from(*layout));
        writer.bytes(&begun.write());
        for text in [entry, module, import] {
            writer.text(text);
        }
        writer.option(*left_ns, Writer::number);
        writer.number(*most_memory);
        writer.number(*cpu_ns);
        writer.size(self.groups.len());
        for word in self.groups.as_flattened() {
            writer.raw(&word.to_le_bytes());
        }
        self.kept.write(&mut writer);
        self.mailbox.write(&mut writer);
        writer.raw(&self.image);
        let digest = digest(&writer.0);
        [MAGIC.as_slice(), &FORMAT.to_le_bytes(), &digest, &writer.0].concat().into()
    }

    /// What was written.
    ///
    /// # Errors
    /// When it was something else, as far as that can be seen without its module.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Unfit> {
        let mut reader = Reader::of(bytes);
        let reader = &mut reader;
        if reader.array().ok() != Some(*MAGIC) {
            return Err(Unfit::NoProcess);
        }
        let head = reader.array().and_then(|format| Ok((u16::from_le_bytes(format), reader.array::<DIGEST>()?)));
        let (found, written) = head.map_err(|_short| Unfit::Damaged)?;
        if digest(&reader.rest) != written {
            return Err(Unfit::Damaged);
        }
        if found != FORMAT {
            return Err(Unfit::Newer { found });
        }
        let layout = u32::try_from(reader.number()?).map_err(|_large| Unfit::Layout)?;
        let begun = Begun::read(reader.bytes()?)?;
        let (entry, module, import) = (reader.text()?, reader.text()?, reader.text()?);
        let left_ns = reader.option(Reader::number)?;
        let (most_memory, cpu_ns) = (reader.number()?, reader.number()?);
        let groups = reader.several(|reader| {
            let mut group = [0; GROUP];
            for word in &mut group {
                *word = i64::from_le_bytes(reader.array()?);
            }
            Ok(group)
        })?;
        let (kept, mailbox) = (Kept::read(reader)?, Mail::read(reader)?);
        let image = std::mem::take(&mut reader.rest);
        Ok(Packed { layout, begun, entry, module, import, left_ns, most_memory, cpu_ns, groups, kept, mailbox, image })
    }
}

impl Kept {
    fn write(&self, writer: &mut Writer) {
        writer.option(self.scratch.as_ref(), |writer, (letter, position)| {
            writer.bytes(&letter.write());
            writer.number(*position);
        });
        self.errors.write(writer, |writer, text| writer.text(text));
        self.timers.write(writer, |writer, (process, number)| {
            writer.number(*process);
            writer.number(*number);
        });
    }

    fn read(reader: &mut Reader) -> Result<Self, Damaged> {
        let scratch = reader.option(|reader| Ok((letter(reader)?, reader.number()?)))?;
        let errors = Handed::read(reader, Reader::text)?;
        let timers = Handed::read(reader, |reader| Ok((reader.number()?, reader.number()?)))?;
        Ok(Kept { scratch, errors, timers })
    }
}

impl<T> Handed<T> {
    fn write(&self, writer: &mut Writer, one: impl Fn(&mut Writer, &T)) {
        writer.number(self.next);
        writer.size(self.entries.len());
        for (handle, entry) in &self.entries {
            writer.number(*handle);
            one(writer, entry);
        }
    }

    fn read(reader: &mut Reader, one: impl Fn(&mut Reader) -> Result<T, Damaged>) -> Result<Self, Damaged> {
        let next = reader.number()?;
        let entries = reader.several(|reader| Ok((reader.number()?, one(reader)?)))?;
        Ok(Handed { next, entries })
    }
}

impl Mail {
    fn write(&self, writer: &mut Writer) {
        writer.size(self.messages.len());
        self.messages.iter().for_each(|letter| writer.bytes(&letter.write()));
        writer.number(self.next);
        writer.size(self.due.len());
        for (number, left_ns, letter) in &self.due {
            writer.number(*number);
            writer.number(*left_ns);
            writer.bytes(&letter.write());
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Damaged> {
        let messages = reader.several(letter)?;
        let next = reader.number()?;
        let due = reader.several(|reader| Ok((reader.number()?, reader.number()?, letter(reader)?)))?;
        Ok(Mail { messages, due, next })
    }
}

/// A message, with room for no more than it has. There are no modules in one that is packed.
fn letter(reader: &mut Reader) -> Result<Letter, Damaged> {
    match Letter::read(reader.bytes()?)? {
        Letter::Nothing => Err(Damaged::Form),
        Letter::Data { modules, .. } if !modules.is_empty() => Err(Damaged::Form),
        Letter::Data { tag, bytes, modules, .. } => Ok(Letter::Data { tag, capacity: 0, modules, bytes }),
        other => Ok(other),
    }
}

fn digest(bytes: &[u8]) -> [u8; DIGEST] {
    let mut digest = [0; DIGEST];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut digest);
    digest
}
