//! Doc comments of a component's functions, where it has any: those of its custom section `package-docs`, as the crate `wit-parser`
//! encodes them.
//!
//! A byte says the format. JSON is behind it: worlds and interfaces by their own names, without a package, and functions in them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use serde::Deserialize;
use wasmparser::{Chunk, Parser, Payload};

use crate::abi::interface::Interface;

const SECTION: &str = "package-docs";
/// The last format that is known. The one before has functions' comments as texts of their own.
const FORMAT: u8 = 1;
/// Longest section that is read.
const MAX_SECTION_BYTES: usize = 1 << 20;
/// Most bytes of a comment, and of all of them; what is behind is left out.
const MAX_BYTES: usize = 2 << 10;
const MAX_ALL_BYTES: usize = 64 << 10;

/// Comments by the whole names of exports.
#[derive(Default)]
pub(crate) struct Docs(HashMap<Box<str>, String>);

impl Docs {
    /// Those of what a component exports. A section that can't be read has none.
    pub(crate) fn read(wasm: &[u8], interface: &Interface) -> Self {
        let Some(package) = section(wasm).and_then(Package::read) else { return Docs::default() };
        let (shared, worlds) = (shared(interface), package.of_worlds());
        let mut left = MAX_ALL_BYTES;
        let docs = interface.functions().filter_map(|export| {
            let (scope, name) = export.parts();
            let comment = match scope {
                None => *worlds.functions.get(name)?,
                Some(scope) => match own_name(scope) {
                    None => *worlds.declared.get(&(scope, name))?,
                    // It could be either's.
                    Some(own) if shared.contains(own) => None,
                    Some(own) => package.of_interface(own, name),
                },
            };
            let text = plain(comment?, left.min(MAX_BYTES));
            left = left.saturating_sub(text.len());
            (!text.is_empty()).then(|| (export.name.clone(), text))
        });
        Docs(docs.collect())
    }

    /// That of an export, by its whole name.
    pub(crate) fn of(&self, export: &str) -> Option<&str> {
        self.0.get(export).map(String::as_str)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Package {
    worlds: BTreeMap<String, World>,
    interfaces: BTreeMap<String, Functions>,
}

/// What a world exports, and what of that older formats have among what it imports.
#[derive(Default, Deserialize)]
#[serde(default)]
struct World {
    func_exports: BTreeMap<String, Comment>,
    funcs: BTreeMap<String, Comment>,
    interface_exports: BTreeMap<String, Functions>,
    interfaces: BTreeMap<String, Functions>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Functions {
    funcs: BTreeMap<String, Comment>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Comment {
    Alone(String),
    Beside { docs: Option<String> },
}

impl Package {
    fn read(section: &[u8]) -> Option<Self> {
        let (format, json) = section.split_first()?;
        if *format > FORMAT || json.len() > MAX_SECTION_BYTES {
            return None;
        }
        serde_json::from_slice(json).ok()
    }

    /// Those of functions of worlds, and of interfaces that worlds declare.
    fn of_worlds(&self) -> OfWorlds<'_> {
        let mut of = OfWorlds::default();
        for world in self.worlds.values() {
            for (name, comment) in first_of(&world.func_exports, &world.funcs) {
                note(&mut of.functions, name, comment.text());
            }
            for (scope, functions) in first_of(&world.interface_exports, &world.interfaces) {
                for (name, comment) in &functions.funcs {
                    note(&mut of.declared, (scope, name.as_str()), comment.text());
                }
            }
        }
        of
    }

    /// That of a function of an interface of the package.
    fn of_interface(&self, own: &str, name: &str) -> Option<&str> {
        self.interfaces.get(own)?.funcs.get(name)?.text()
    }
}

/// Comments that several worlds may have: a component does not say which of them it is of. Where they differ there is none.
#[derive(Default)]
struct OfWorlds<'a> {
    functions: HashMap<&'a str, Option<&'a str>>,
    declared: HashMap<(&'a str, &'a str), Option<&'a str>>,
}

fn note<'a, K: Eq + Hash>(comments: &mut HashMap<K, Option<&'a str>>, key: K, text: Option<&'a str>) {
    match comments.entry(key) {
        Entry::Occupied(mut before) if *before.get() != text => {
            before.insert(None);
        }
        Entry::Occupied(_same) => {}
        Entry::Vacant(place) => {
            place.insert(text);
        }
    }
}

/// All of the first, and what of the second has another name.
fn first_of<'a, T>(
    first: &'a BTreeMap<String, T>,
    second: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a str, &'a T)> {
    let others = second.iter().filter(|(name, _item)| !first.contains_key(*name));
    first.iter().chain(others).map(|(name, item)| (name.as_str(), item))
}

impl Comment {
    fn text(&self) -> Option<&str> {
        match self {
            Comment::Alone(docs) => Some(docs),
            Comment::Beside { docs } => docs.as_deref(),
        }
    }
}

/// The name of an interface within its package; `None` of one that is in none.
fn own_name(scope: &str) -> Option<&str> {
    let (_package, name) = scope.split_once('/')?;
    Some(name.split_once('@').map_or(name, |(name, _version)| name))
}

/// Names that several of a component's interfaces have within their packages.
fn shared(interface: &Interface) -> HashSet<&str> {
    let mut first = HashMap::new();
    let scopes = interface.functions().filter_map(|export| export.parts().0);
    let own = scopes.filter_map(|scope| Some((own_name(scope)?, scope)));
    own.filter(|(own, scope)| first.entry(*own).or_insert(*scope) != scope).map(|(own, _scope)| own).collect()
}

/// The section of the component itself: what is in it is passed over.
fn section(wasm: &[u8]) -> Option<&[u8]> {
    let (mut parser, mut rest) = (Parser::new(0), wasm);
    loop {
        let Ok(Chunk::Parsed { consumed, payload }) = parser.parse(rest, true) else { return None };
        rest = rest.get(consumed..)?;
        match payload {
            Payload::CustomSection(custom) if custom.name() == SECTION => return Some(custom.data()),
            Payload::ModuleSection { unchecked_range: within, .. }
            | Payload::ComponentSection { unchecked_range: within, .. } => rest = rest.get(within.len()..)?,
            Payload::End(_) => return None,
            _ => {}
        }
    }
}

/// As much of a comment as there is room for, without what is no text.
fn plain(comment: &str, most: usize) -> String {
    let mut text = String::new();
    for char in comment.trim().chars().filter(|char| !char.is_control() || *char == '\n') {
        if text.len() + char.len_utf8() > most {
            break;
        }
        text.push(char);
    }
    text
}
