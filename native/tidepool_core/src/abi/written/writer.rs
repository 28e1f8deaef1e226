//! What goes from one part of a description to the next, and bounds all of it.

use std::borrow::Cow;

use wasmtime::component::Type;

use super::named::LOOK_BYTES;
use crate::abi::interface::Interface;

/// Types that are written out, all in all; a guest's may be built of one another, and be very large.
const MAX_TYPES: usize = 20_000;
/// Levels of them: each takes up to four of JSON, of which who reads it takes 64.
const MAX_DEPTH: usize = 12;
/// Bytes of names that are written, all in all: twice as many as a description has that is kept.
const MAX_NAMES: usize = 2 << 20;
/// Types, functions and resources that are looked at for what is in an interface, or has a name there.
const MAX_LOOKS: usize = 20_000_000;
/// What is written where more would be: that is no WIT.
const CUT: &str = "_";

/// Words of WIT's own, a line each. A name that is one of them has a `%` before it.
const KEYWORDS: &str = include_str!("keywords.txt");

/// What an interface, or the world, has of others.
pub(super) struct Foreign<'a> {
    /// The interface that has it; `None` is the world.
    pub(super) scope: Option<Box<str>>,
    /// Its name there.
    pub(super) name: String,
    pub(super) what: What<'a>,
}

pub(super) enum What<'a> {
    /// It is declared there as well.
    Type(Type),
    /// It is used, by its whole name.
    Resource(&'a str),
}

/// Writes what an interface has.
pub(in crate::abi) struct Writer<'a> {
    pub(super) interface: &'a Interface,
    left: usize,
    names_left: usize,
    pub(super) looks_left: usize,
    /// How many looks one is, by the longest of the names.
    look: usize,
    /// Was something left out? Then there is no WIT.
    pub(super) is_cut: bool,
    /// What interfaces have of others.
    pub(super) foreign: Vec<Foreign<'a>>,
}

impl<'a> Writer<'a> {
    pub(in crate::abi) fn new(interface: &'a Interface) -> Self {
        let whole = |of: Option<&str>, name: &str| of.map_or(0, str::len) + name.len();
        let names = interface.types().map(|(of, name, _ty)| whole(of, name));
        let functions = interface.functions().map(|export| {
            let (of, name) = export.parts();
            whole(of, name)
        });
        let imported = interface.imported().map(|(name, _ty)| name.len());
        let kinds = interface.kinds().iter().map(|kind| kind.name.len());
        let longest = names.chain(functions).chain(imported).chain(kinds).max().unwrap_or_default();
        Writer {
            interface,
            left: MAX_TYPES,
            names_left: MAX_NAMES,
            looks_left: MAX_LOOKS,
            look: 1 + longest / LOOK_BYTES,
            is_cut: false,
            foreign: Vec::new(),
        }
    }

    /// Leaves something out: what stands in its place.
    pub(super) fn cut(&mut self) -> String {
        self.is_cut = true;
        CUT.into()
    }

    /// A name as it is written, if there is room for it.
    pub(super) fn name(&mut self, name: &str) -> String {
        if self.take_names([name]) { id(name).into_owned() } else { self.cut() }
    }

    /// Is there room for these names?
    pub(in crate::abi) fn take_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> bool {
        let bytes = names.into_iter().fold(0, |sum: usize, name| sum.saturating_add(name.len() + 1));
        let room = bytes <= self.names_left;
        self.names_left = self.names_left.saturating_sub(bytes);
        room
    }

    /// May so many be looked at?
    pub(super) fn looks_at(&mut self, count: usize) -> bool {
        let count = count.saturating_mul(self.look);
        let may = self.is_whole() && count <= self.looks_left;
        self.looks_left = self.looks_left.saturating_sub(count);
        may
    }

    /// Was there room for all of it?
    pub(in crate::abi) fn is_whole(&self) -> bool {
        self.names_left > 0 && self.looks_left > 0
    }

    /// The same of the names of what a type has of its own: fields, cases, flags.
    pub(super) fn take_members(&mut self, ty: &Type) -> bool {
        match ty {
            Type::Record(record) => self.take_names(record.fields().map(|field| field.name)),
            Type::Variant(variant) => self.take_names(variant.cases().map(|case| case.name)),
            Type::Enum(names) => self.take_names(names.names()),
            Type::Flags(names) => self.take_names(names.names()),
            _ => true,
        }
    }

    /// Is there room for one more?
    pub(super) fn take(&mut self, depth: usize) -> bool {
        let room = self.left > 0 && depth < MAX_DEPTH;
        self.left = self.left.saturating_sub(1);
        room
    }
}

/// The interface of a whole name, if it is in one, and the name there.
pub(super) fn parts(whole: &str) -> (Option<&str>, &str) {
    whole.split_once('#').map_or((None, whole), |(scope, name)| (Some(scope), name))
}

/// A name as WIT has it.
pub(super) fn id(name: &str) -> Cow<'_, str> {
    if KEYWORDS.lines().any(|word| word == name) { Cow::Owned(format!("%{name}")) } else { Cow::Borrowed(name) }
}
