//! What one conversion of values may do: a short text may ask for much, by fields that it leaves out, or by types with many names.

use wasmtime::component::types::Case;
use wasmtime::component::{ResourceAny, ResourceType, Val};

use crate::abi::typed::arguments::is_named;
use crate::value::{Handle, MAX_COUNT, Value};

/// Values that are made in one conversion: those that were given, what they leave out, and options around them. Bytes of lists are
/// counted by themselves.
const MAX_MADE: usize = 2 * MAX_COUNT;
/// Bytes of lists that are given to a guest with a value for each, of forty bytes.
const MAX_BYTES: usize = 4 << 20;
/// Bytes of names of fields, cases and flags in all values of one conversion.
const MAX_NAMES: usize = 16 << 20;
/// Names that are compared in one conversion: some 70 ms. A type has up to 10,000; of one with a thousand each of 65,536 values may have
/// any.
const MAX_COMPARED: usize = 1 << 25;
/// What a case of a variant takes, in names: the engine makes its type each time.
const CASE: usize = 8;
/// Bytes of a name that take as long as one more name does.
const NAME_BYTES: usize = 8;

/// What a value takes in the host: as it came, and as the engine has it.
const VALUE_BYTES: usize = size_of::<Value>() + size_of::<Val>();

/// What resources are for values, and values for resources.
pub(in crate::abi::component) trait Resources: Send {
    /// The resource that a handle is of, as one of this type: its own, or a borrowed one.
    ///
    /// # Errors
    /// Why it can't be.
    fn give(&mut self, handle: &Handle, ty: &ResourceType, owned: bool) -> Result<Val, String>;

    /// A handle of a resource of this type.
    fn show(&mut self, resource: ResourceAny, ty: &ResourceType) -> Value;

    /// Counts so many bytes that a conversion has made in all, or makes next, if they are counted here; `false` when there
    /// is no room for them.
    fn hold(&mut self, _bytes: usize) -> bool {
        true
    }
}

/// For calls without a resource.
pub(in crate::abi::component) struct Nothing;

impl Resources for Nothing {
    fn give(&mut self, _handle: &Handle, _ty: &ResourceType, _owned: bool) -> Result<Val, String> {
        Err("no caller has a value of this type".into())
    }

    fn show(&mut self, _resource: ResourceAny, _ty: &ResourceType) -> Value {
        Value::Null
    }
}

/// More than a conversion may do: the sentence says what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::abi::component) enum TooMuch {
    #[error("with what is left out it is made of more than {MAX_MADE} values")]
    Values,
    #[error("its lists have more than {} MiB of bytes", MAX_BYTES >> 20)]
    Bytes,
    #[error("its values have more than {} MiB of names", MAX_NAMES >> 20)]
    Names,
    #[error("its types have so many names that {MAX_COMPARED} were compared, and no more are")]
    Compared,
    #[error("there is no room for it on the host")]
    Room,
    /// Than one piece may, which is converted by its parts then.
    #[error("it is converted in pieces")]
    Piece,
}

/// One of them: the arguments of a call, or a result.
pub(in crate::abi::component) struct Conversion<'a> {
    pub(in crate::abi::component) resources: &'a mut dyn Resources,
    /// What it has done.
    pub(in crate::abi::component) tally: Tally,
}

/// What a conversion may still do.
#[derive(Clone)]
pub(in crate::abi::component) struct Tally {
    values: usize,
    bytes: usize,
    names: usize,
    compared: usize,
    /// Bytes of texts.
    texts: usize,
    /// What may have been spent when a piece ends, and whether it was more.
    piece_end: usize,
    is_cut: bool,
    /// Is it more than this may do? What is shown is cut there.
    over: Option<TooMuch>,
}

impl Default for Tally {
    fn default() -> Self {
        let (values, bytes, names, compared) = (MAX_MADE, MAX_BYTES, MAX_NAMES, MAX_COMPARED);
        Tally { values, bytes, names, compared, texts: 0, piece_end: usize::MAX, is_cut: false, over: None }
    }
}

impl Tally {
    /// Begins a piece that may spend so much.
    pub(super) fn begin_piece(&mut self, most: usize) {
        self.piece_end = self.spent().saturating_add(most);
    }

    /// Ends it; `true` when it was cut: it would have spent more.
    pub(super) fn end_piece(&mut self) -> bool {
        self.piece_end = usize::MAX;
        std::mem::take(&mut self.is_cut)
    }

    fn within_piece(&mut self) -> Result<(), TooMuch> {
        self.is_cut |= self.spent() > self.piece_end;
        if self.is_cut { Err(TooMuch::Piece) } else { Ok(()) }
    }

    /// Counts so many values.
    ///
    /// # Errors
    /// [`TooMuch`] once there are too many, now and from then on, or more than the piece may have.
    pub(in crate::abi::component) fn count(&mut self, values: usize) -> Result<(), TooMuch> {
        self.values = self.values.checked_sub(values).ok_or_else(|| self.end(TooMuch::Values))?;
        self.within_piece()
    }

    /// Counts bytes of a list.
    ///
    /// # Errors
    /// As of [`Tally::count`].
    pub(in crate::abi::component) fn bytes(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| self.end(TooMuch::Bytes))?;
        Ok(())
    }

    /// May a list have so many bytes more?
    ///
    /// # Errors
    /// As of [`Tally::count`].
    pub(super) fn may_have_bytes(&mut self, bytes: usize) -> Result<(), TooMuch> {
        if bytes <= self.bytes { Ok(()) } else { Err(self.end(TooMuch::Bytes)) }
    }

    /// Notes a text.
    pub(in crate::abi::component) fn text(&mut self, text: &str) {
        self.texts = self.texts.saturating_add(text.len());
    }

    /// What all of it takes in the host: values and texts as they came and as the engine has them, and its names.
    pub(in crate::abi::component) fn made_bytes(&self) -> usize {
        // Bytes of lists came as they are.
        let bytes = (MAX_BYTES - self.bytes).saturating_mul(size_of::<Val>() + 1);
        let values = (MAX_MADE - self.values).saturating_mul(VALUE_BYTES);
        let names = MAX_NAMES - self.names;
        values.saturating_add(bytes).saturating_add(self.texts.saturating_mul(2)).saturating_add(names)
    }

    /// How long what was done takes, in values: some 0.2 us each.
    pub(in crate::abi::component) fn spent(&self) -> usize {
        let (values, bytes) = (MAX_MADE - self.values, MAX_BYTES - self.bytes);
        let (names, compared) = (MAX_NAMES - self.names, MAX_COMPARED - self.compared);
        values + bytes / 32 + names / 1_024 + compared / 64 + self.texts / 1_024
    }

    /// Counts a name.
    ///
    /// # Errors
    /// As of [`Tally::count`].
    pub(in crate::abi::component) fn name(&mut self, name: &str) -> Result<(), TooMuch> {
        let bytes = name.len() + size_of::<String>();
        self.names = self.names.checked_sub(bytes).ok_or_else(|| self.end(TooMuch::Names))?;
        self.within_piece()
    }

    /// The name that is meant among those of a type, and its place there.
    ///
    /// # Errors
    /// As of [`Tally::count`].
    pub(in crate::abi::component) fn find<'n>(
        &mut self,
        meant: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Option<(usize, &'n str)>, TooMuch> {
        for (place, name) in names.into_iter().enumerate() {
            if self.is_name(meant, name)? {
                return Ok(Some((place, name)));
            }
        }
        Ok(None)
    }

    /// Is this the name that is meant?
    ///
    /// # Errors
    /// As of [`Tally::count`].
    pub(super) fn is_name(&mut self, meant: &str, name: &str) -> Result<bool, TooMuch> {
        self.compare(1, meant, name)?;
        Ok(is_named(meant, name))
    }

    /// Is this the case that is meant?
    ///
    /// # Errors
    /// As of [`Tally::count`].
    pub(super) fn is_case(&mut self, meant: &str, case: &Case<'_>) -> Result<bool, TooMuch> {
        self.compare(CASE, meant, case.name)?;
        Ok(is_named(meant, case.name))
    }

    /// The case of a variant that is meant.
    ///
    /// # Errors
    /// As of [`Tally::count`].
    pub(in crate::abi::component) fn case<'n>(
        &mut self,
        meant: &str,
        cases: impl Iterator<Item = Case<'n>>,
    ) -> Result<Option<Case<'n>>, TooMuch> {
        for case in cases {
            if self.is_case(meant, &case)? {
                return Ok(Some(case));
            }
        }
        Ok(None)
    }

    /// Counts a name that is compared, and its bytes where they have to be looked at.
    fn compare(&mut self, names: usize, meant: &str, name: &str) -> Result<(), TooMuch> {
        let bytes = if meant.len() == name.len() { name.len() / NAME_BYTES } else { 0 };
        self.compared = self.compared.checked_sub(names + bytes).ok_or_else(|| self.end(TooMuch::Compared))?;
        self.within_piece()
    }

    /// What it was more than, if it was.
    pub(in crate::abi::component) fn over(&self) -> Option<TooMuch> {
        self.over
    }

    /// Allows nothing more.
    pub(super) fn end(&mut self, why: TooMuch) -> TooMuch {
        self.values = 0;
        self.bytes = 0;
        self.names = 0;
        self.compared = 0;
        *self.over.get_or_insert(why)
    }
}
