//! What an interface, or the world, has of others: resources that it uses, and types that it has no name for.

use std::collections::BTreeSet;

use wasmtime::component::{ResourceType, Type};

use super::named::is_same;
use super::wit::{line, package, path};
use super::writer::{Foreign, What, Writer, id, parts};

/// What a type is called that has no name anywhere: the engine does not tell those that a world has for itself.
const UNNAMED: &str = "unnamed";

impl<'a> Writer<'a> {
    /// A type that WIT has by a name alone, and that the interface has none for: by that of an import, or of another export,
    /// as which it is declared here as well.
    pub(super) fn adopted(&mut self, scope: Option<&str>, ty: &Type) -> String {
        let interface = self.interface;
        if !self.looks_at(self.foreign.len()) {
            return self.cut();
        }
        let left = &mut self.looks_left;
        let mut here = self.foreign.iter().filter(|one| one.scope.as_deref() == scope);
        let known = here.find(|one| matches!(&one.what, What::Type(known) if is_same(known, ty, left)));
        if let Some(name) = known.map(|one| one.name.clone()) {
            return self.name(&name);
        }
        if !self.looks_at(interface.imported().len() + interface.types().len()) {
            return self.cut();
        }
        let mut named = interface.imported().chain(interface.types().map(|(_of, name, ty)| (name, ty)));
        let named = named.find(|(_name, named)| is_same(named, ty, &mut self.looks_left));
        self.take_in(scope, named.map_or(UNNAMED, |(name, _ty)| name), What::Type(ty.clone()))
    }

    /// The name of a resource, which may be another interface's.
    pub(super) fn resource(&mut self, scope: Option<&str>, ty: &ResourceType) -> String {
        let interface = self.interface;
        let Some(kind) = interface.kinds().iter().find(|kind| kind.ty == *ty) else { return self.cut() };
        let (of, name) = parts(&kind.name);
        // It is declared there, with its functions.
        if of == scope && kind.hosted.is_none() {
            return self.name(name);
        }
        if !self.looks_at(self.foreign.len() + interface.functions().len()) {
            return self.cut();
        }
        let is_it = |what: &What<'_>| matches!(what, What::Resource(whole) if *whole == &*kind.name);
        let known = self.foreign.iter().find(|one| one.scope.as_deref() == scope && is_it(&one.what));
        if let Some(name) = known.map(|one| one.name.clone()) {
            return self.name(&name);
        }
        let is_usable = match of {
            // One that is imported and exported is written as it is exported.
            Some(of) => {
                let is_exported = interface.functions().any(|export| export.parts().0 == Some(of));
                package(of).is_some() && (kind.hosted.is_none() || !is_exported)
            }
            // Interfaces use nothing of the world.
            None => scope.is_none(),
        };
        if is_usable { self.take_in(scope, name, What::Resource(&kind.name)) } else { self.cut() }
    }

    /// Takes in what is another's, by its name there, or one like that.
    fn take_in(&mut self, scope: Option<&str>, name: &str, what: What<'a>) -> String {
        let Some(name) = self.free_name(scope, name) else { return self.cut() };
        let written = self.name(&name);
        self.foreign.push(Foreign { scope: scope.map(Into::into), name, what });
        written
    }

    /// A name that nothing else in the interface has.
    fn free_name(&mut self, scope: Option<&str>, wanted: &str) -> Option<String> {
        let interface = self.interface;
        let (types, functions) = (interface.types().len(), interface.functions().len());
        for number in 1_usize.. {
            if !self.looks_at(types + functions + interface.kinds().len() + self.foreign.len()) {
                break;
            }
            let name = if number == 1 { wanted.to_owned() } else { format!("{wanted}{number}") };
            let here = (scope, &*name);
            let is_taken = interface.types().any(|(of, name, _ty)| (of, name) == here)
                || interface.functions().any(|export| export.parts() == here)
                || interface.kinds().iter().any(|kind| kind.hosted.is_none() && parts(&kind.name) == here)
                || self.foreign.iter().any(|one| (one.scope.as_deref(), &*one.name) == here);
            if !is_taken {
                return Some(name);
            }
        }
        None
    }

    /// Writes all that an interface has of others, which may come to be more meanwhile.
    pub(super) fn taken_in(&mut self, scope: Option<&str>, level: usize) -> String {
        let (mut uses, mut types, mut at) = (BTreeSet::new(), String::new(), 0);
        while let Some(Foreign { scope: of, name, what }) = self.foreign.get(at) {
            at += 1;
            if of.as_deref() != scope {
                continue;
            }
            match what {
                What::Type(ty) => {
                    let (name, ty) = (name.clone(), ty.clone());
                    self.declaration(&mut types, scope, (name.as_str(), &ty), level);
                }
                What::Resource(whole) => {
                    uses.insert(used(scope, whole, name));
                }
            }
        }
        let mut text = String::new();
        uses.iter().for_each(|used| line(&mut text, level, used));
        text + &types
    }

    /// The whole names of resources that are used of others.
    pub(super) fn used(&self) -> BTreeSet<&'a str> {
        let whole = |one: &Foreign<'a>| if let What::Resource(whole) = &one.what { Some(*whole) } else { None };
        self.foreign.iter().filter_map(whole).collect()
    }
}

/// The line by which an interface has a resource of this whole name as `name`.
fn used(scope: Option<&str>, whole: &str, name: &str) -> String {
    let (Some(of), own) = parts(whole) else { return format!("resource {};", id(name)) };
    // No package has a dependency on itself.
    let path = match (package(of), scope.and_then(package)) {
        (Some((theirs, interface)), Some((ours, _name))) if theirs == ours => interface,
        _ => path(of),
    };
    let renamed = if own == name { String::new() } else { format!(" as {}", id(name)) };
    format!("use {path}.{{{}{renamed}}};", id(own))
}
