//! All of a component's exports as WIT.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use wasmtime::component::Type;

use super::writer::{Writer, id, parts};
use crate::abi::interface::Export;

impl Writer<'_> {
    /// All of it as WIT: a world that exports the interfaces and the functions of its own, and the packages of those. `None`
    /// where something was left out.
    pub(in crate::abi) fn wit(&mut self) -> Option<String> {
        // What is left out of a function's types is no more in here.
        if self.is_cut {
            return None;
        }
        let interface = self.interface;
        let mut scopes: Vec<&str> = interface.functions().filter_map(|export| export.parts().0).collect();
        scopes.dedup();
        let mut wit = String::from("package root:component;\n\n");
        line(&mut wit, 0, "world root {");
        for scope in &scopes {
            if package(scope).is_some() {
                line(&mut wit, 1, &format!("export {};", path(scope)));
            } else {
                self.is_cut |= !is_label(scope);
                line(&mut wit, 1, &format!("export {}: interface {{", id(scope)));
                self.declarations(&mut wit, Some(scope), 2);
                line(&mut wit, 1, "}");
            }
        }
        self.declarations(&mut wit, None, 1);
        line(&mut wit, 0, "}");
        // Each is there once, with all of its interfaces.
        let mut packages: BTreeMap<String, String> = BTreeMap::new();
        for (scope, (package, name)) in scopes.iter().filter_map(|scope| Some((scope, package(scope)?))) {
            let text = packages.entry(package).or_default();
            line(text, 1, &format!("interface {name} {{"));
            self.declarations(text, Some(scope), 2);
            line(text, 1, "}");
        }
        // Of what it imports, that which its exports have.
        let used = self.used();
        let foreign: BTreeSet<&str> = used.iter().filter_map(|name| parts(name).0).collect();
        for scope in foreign.into_iter().filter(|scope| !scopes.contains(scope)) {
            let Some((package, interface)) = package(scope) else { continue };
            let text = packages.entry(package).or_default();
            line(text, 1, &format!("interface {interface} {{"));
            for (_of, name) in used.iter().map(|name| parts(name)).filter(|(of, _name)| *of == Some(scope)) {
                line(text, 2, &format!("resource {};", id(name)));
            }
            line(text, 1, "}");
        }
        for (package, interfaces) in &packages {
            line(&mut wit, 0, &format!("\npackage {package} {{"));
            wit.push_str(interfaces);
            line(&mut wit, 0, "}");
        }
        (!self.is_cut).then_some(wit)
    }

    fn declarations(&mut self, wit: &mut String, scope: Option<&str>, level: usize) {
        let interface = self.interface;
        if !self.looks_at(interface.types().len() + interface.functions().len() + interface.kinds().len()) {
            return;
        }
        let mut text = String::new();
        for (_of, name, ty) in interface.types().filter(|(of, _name, _ty)| *of == scope) {
            self.declaration(&mut text, scope, (name, ty), level);
        }
        let own = interface.kinds().iter().filter(|kind| kind.hosted.is_none()).map(|kind| parts(&kind.name));
        for name in own.filter(|(of, _name)| *of == scope).map(|(_of, name)| name) {
            self.resource_body(&mut text, scope, name, level);
        }
        for export in interface.functions().filter(|export| export.parts().0 == scope) {
            let name = export.parts().1;
            if member_of(name).is_none() {
                let keyword = if scope.is_none() { "export " } else { "" };
                line(&mut text, level, &format!("{keyword}{}: func{};", id(name), self.signature(scope, export, 0)));
            }
        }
        wit.push_str(&self.taken_in(scope, level));
        wit.push_str(&text);
    }

    /// A type with a name.
    pub(super) fn declaration(
        &mut self,
        text: &mut String,
        scope: Option<&str>,
        (name, ty): (&str, &Type),
        level: usize,
    ) {
        let body = self.body(scope, ty, 0);
        match body.split_first() {
            Some((first, members)) => {
                let head = first.replacen(' ', &format!(" {} ", id(name)), 1);
                line(text, level, &head);
                for (index, member) in members.iter().enumerate() {
                    line(text, if index + 1 == members.len() { level } else { level + 1 }, member);
                }
            }
            None => line(text, level, &format!("type {} = {};", id(name), self.structure(scope, ty, 0))),
        }
    }

    /// A resource with its functions.
    fn resource_body(&mut self, text: &mut String, scope: Option<&str>, resource: &str, level: usize) {
        let interface = self.interface;
        line(text, level, &format!("resource {} {{", id(resource)));
        for export in interface.functions().filter(|export| export.parts().0 == scope) {
            let member = match member_of(export.parts().1) {
                Some(("constructor", of, _none)) if of == resource => {
                    let (signature, plain) = (self.signature(scope, export, 0), format!(" -> {}", id(resource)));
                    format!("constructor{};", signature.strip_suffix(&plain).unwrap_or(&signature))
                }
                Some(("method", of, name)) if of == resource => {
                    format!("{}: func{};", id(name), self.signature(scope, export, 1))
                }
                Some((_static, of, name)) if of == resource => {
                    format!("{}: static func{};", id(name), self.signature(scope, export, 0))
                }
                _ => continue,
            };
            line(text, level + 1, &member);
        }
        line(text, level, "}");
    }

    /// What a function takes, but for the first so many parameters, and what it returns.
    fn signature(&mut self, scope: Option<&str>, export: &Export, skip: usize) -> String {
        let params = export.params.iter().skip(skip);
        let params: Vec<String> =
            params.map(|(name, ty)| format!("{}: {}", id(name), self.text(scope, ty, 0))).collect();
        let result = export.result.as_ref().map_or_else(String::new, |ty| format!(" -> {}", self.text(scope, ty, 0)));
        format!("({}){result}", params.join(", "))
    }
}

/// The kind, the resource and the own name of a resource's function.
fn member_of(name: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = name.strip_prefix('[')?.split_once(']')?;
    let (resource, name) = rest.split_once('.').unwrap_or((rest, ""));
    Some((kind, resource, name))
}

/// The name of an interface, with that of its package and its version.
pub(super) fn path(scope: &str) -> String {
    let (names, version) = scope.split_at(scope.find('@').unwrap_or(scope.len()));
    let written = |part: &str| part.split(':').map(id).collect::<Vec<_>>().join(":");
    names.split('/').map(written).collect::<Vec<_>>().join("/") + version
}

/// The package of an interface, with its version, and its name in there; `None` of one that is in none.
pub(super) fn package(scope: &str) -> Option<(String, String)> {
    let (names, version) = scope.split_at(scope.find('@').unwrap_or(scope.len()));
    let (package, name) = names.split_once('/')?;
    let (namespace, own) = package.split_once(':')?;
    // There are other names, such as of what is fetched from somewhere.
    let is_one = [namespace, own, name].into_iter().all(is_label);
    is_one.then(|| (format!("{}:{}{version}", id(namespace), id(own)), id(name).into_owned()))
}

/// Is it a name by itself?
fn is_label(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A string takes whatever is written.
pub(super) fn line(wit: &mut String, level: usize, text: &str) {
    let _ = writeln!(wit, "{:width$}{text}", "", width = level * 4);
}
