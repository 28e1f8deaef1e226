//! An image and the changes that follow it: what an instance remembers of what was made of it, so that the next one may be short.
//!
//! A change is what the memory has that it had not when the last image was made, or change; it names that by its hash. An image with
//! its changes is their bytes one after the other, so whoever keeps them needs to know nothing of either.
//!
//! Whoever reads an image reads all changes of it. So there are few, which are no longer together than the image, and then comes another
//! image. One that is short is worth no changes.

use super::ImageError;
use super::head::{Digest, ImageName, ModuleHash, array, digest_of};
use super::numbers::Bytes;
use super::writer::{Contents, Source};

/// Most changes of an image. Stores have room for some more.
const MOST_CHANGES: usize = 16;
/// Bytes from which on an image is worth changes. With shorter ones nothing less is written: databases write whole pages.
const WORTH_BYTES: usize = 2 << 10;
/// Most bytes of contents, unpacked, that an instance remembers beside its memory.
const REMEMBERED_BYTES: usize = 16 << 20;

/// What a change begins with, which no piece of an image does.
pub(super) const MARK: u8 = 0;
const FORMAT: u8 = 1;
/// What a change has before its pieces.
pub(super) const HEAD_BYTES: usize = 58;
/// The mark, the format, and then the change's own name.
const NAME_AT: usize = 2;
const NAMED_AT: usize = NAME_AT + size_of::<ImageName>();

/// What the last image of an instance held.
#[derive(Default)]
pub(crate) struct Last {
    /// `None` when there was none.
    digest: Option<Digest>,
    /// `None` when the next one is to be whole.
    open: Option<Open>,
}

/// An image that may get changes.
struct Open {
    contents: Contents,
    /// The name of what the next change follows.
    name: ImageName,
    changes: usize,
    /// How many bytes the changes may still have.
    left: usize,
}

/// An image, or what follows the one before.
pub(crate) enum Made {
    Whole(Vec<u8>),
    Change(Vec<u8>),
    /// None, for the instance is as it was then.
    Same,
    /// None, for it has no room. The next one is whole.
    NoRoom,
}

impl Last {
    /// That of an instance which was made with an image. Its first one is whole again.
    pub(crate) fn read(digest: Digest) -> Self {
        Last { digest: Some(digest), open: None }
    }

    /// The next image, or change, of an instance of `module`. `hold` makes room for so many bytes of it, or says that there is none.
    /// `remember` makes room for so many bytes in place of what was remembered, or says that there is none: then the next one is whole.
    ///
    /// What nobody has counted of it while it is made is three times [`REMEMBERED_BYTES`] at most: contents, what of them has changed, and that
    /// packed.
    pub(crate) fn next(
        &mut self,
        source: &Source<'_>,
        (module, clock_ns): (ModuleHash, u64),
        hold: &mut dyn FnMut(usize) -> bool,
        remember: impl FnOnce(usize) -> bool,
    ) -> Made {
        let measured = (source.memory().len() > REMEMBERED_BYTES).then(|| source.measured());
        let made = match measured {
            Some((_bytes, digest)) if self.digest == Some(digest) => return Made::Same,
            Some((bytes, digest)) if bytes > REMEMBERED_BYTES => {
                (self.digest, self.open) = (Some(digest), None);
                remember(0);
                source.packed(digest, (module, clock_ns), hold).map_or(Made::NoRoom, Made::Whole)
            }
            measured => {
                let contents = source.contents(measured.map(|(_bytes, digest)| digest));
                if self.digest == Some(contents.digest()) {
                    return Made::Same;
                }
                match self.made(contents, source.memory(), (module, clock_ns), remember) {
                    Made::Whole(bytes) | Made::Change(bytes) if !hold(bytes.len()) => Made::NoRoom,
                    made => made,
                }
            }
        };
        if matches!(made, Made::NoRoom) {
            *self = Last::default();
        }
        made
    }

    fn made(
        &mut self,
        contents: Contents,
        memory: &[u8],
        (module, clock_ns): (ModuleHash, u64),
        remember: impl FnOnce(usize) -> bool,
    ) -> Made {
        self.digest = Some(contents.digest());
        if let Some(mut open) = self.open.take().filter(|open| open.changes < MOST_CHANGES) {
            let change = change(&contents, &open, memory, clock_ns);
            if let Some(left) = open.left.checked_sub(change.bytes.len()) {
                open = Open { contents, name: change.name, changes: open.changes + 1, left };
                self.open = remember(open.contents.len()).then_some(open);
                return Made::Change(change.bytes);
            }
        }
        let (whole, name) = contents.packed(module, clock_ns);
        let is_worth_it = whole.len() >= WORTH_BYTES && contents.len() <= REMEMBERED_BYTES;
        let bytes = if is_worth_it { contents.len() } else { 0 };
        if remember(bytes) && is_worth_it {
            self.open = Some(Open { contents, name, changes: 0, left: whole.len() });
        }
        Made::Whole(whole)
    }
}

struct Change {
    bytes: Vec<u8>,
    name: ImageName,
}

/// | bytes | |
/// | --- | --- |
/// | 0 | 0 |
/// | 1 | the format |
/// | 2–17 | digest of all else |
/// | 18–33 | the name of what it follows |
/// | 34–49 | digest of all pieces of the image that it makes of that, unpacked |
/// | 50–57 | the guest's monotonic clock, in ns |
///
/// Pieces follow, as those of an image.
fn change(contents: &Contents, open: &Open, memory: &[u8], clock_ns: u64) -> Change {
    let mut bytes = vec![MARK, FORMAT];
    bytes.extend_from_slice(&ImageName::default());
    bytes.extend_from_slice(&open.name);
    bytes.extend_from_slice(&contents.digest());
    bytes.extend_from_slice(&clock_ns.to_le_bytes());
    contents.since(&open.contents, memory).pack(&mut bytes);
    let name = name(&bytes);
    if let Some(place) = bytes.get_mut(NAME_AT..NAMED_AT) {
        place.copy_from_slice(&name);
    }
    Change { bytes, name }
}

fn name(change: &[u8]) -> ImageName {
    digest_of(&[change.get(..NAME_AT).unwrap_or_default(), change.get(NAMED_AT..).unwrap_or_default()])
}

/// A change that was found to be as it was written.
pub(super) struct Read {
    pub(super) name: ImageName,
    pub(super) digest: Digest,
    pub(super) clock_ns: u64,
}

/// Reads a change, all of which is in `change`, of what has the name `base`.
///
/// # Errors
/// When it is damaged, of a later version, or follows something else.
pub(super) fn read(change: &[u8], base: &ImageName) -> Result<Read, ImageError> {
    let mut bytes = Bytes(change);
    let ([_mark, format], written) = (bytes.array()?, bytes.array()?);
    if written != name(change) {
        return Err(ImageError::Damaged);
    }
    if format != FORMAT {
        return Err(ImageError::Newer { found: format.into(), known: FORMAT.into() });
    }
    if array::<16>(bytes.take(16)?)? != *base {
        return Err(ImageError::Apart);
    }
    let (digest, clock) = (bytes.array()?, bytes.array()?);
    Ok(Read { name: written, digest, clock_ns: u64::from_le_bytes(clock) })
}
