//! The interfaces that components may import, as their WIT says: what the walk asks the linker for.

use std::path::PathBuf;
use std::process::Command;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Function, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

/// The drafts that the host answers by itself, and which no package has: as `abi/component/own.rs` names them.
const DRAFTS: &str = r"
package wasi:config@0.2.0-rc.1;
interface store {
  variant error { upstream(string), io(string) }
  get: func(key: string) -> result<option<string>, error>;
  get-all: func() -> result<list<tuple<string, string>>, error>;
}
interface runtime {
  variant error { upstream(string), io(string) }
  get: func(key: string) -> result<option<string>, error>;
  get-all: func() -> result<list<tuple<string, string>>, error>;
}";
const LOGGING: &str = r"
package wasi:logging@0.1.0-draft;
interface logging {
  enum level { trace, debug, info, warn, error, critical }
  log: func(level: level, context: string, message: string);
}";

/// As guests are made with.
const KEYVALUE: &str = include_str!("../../../../../../guests/keyvalue/rust/wit/deps/draft.wit");
const KEYVALUE_2: &str = include_str!("../../../../../../guests/keyvalue/rust/wit/deps/draft2.wit");

/// An interface as the table names it: by its version where there are several.
fn named(interface: &str) -> &str {
    let unversioned = interface.split_once('@').map_or(interface, |(name, _version)| name);
    if unversioned.starts_with("wasi:keyvalue/") { interface } else { unversioned }
}

/// A function of an interface, or what drops a handle of its.
pub(crate) struct Item {
    /// With its version.
    pub(super) interface: String,
    pub(super) name: String,
    pub(super) params: Vec<WasmType>,
    pub(super) results: Vec<WasmType>,
    pub(super) has_return_pointer: bool,
    /// The function, unless it drops a handle.
    pub(super) function: Option<Function>,
}

impl Item {
    /// As the table names it.
    pub(crate) fn path(&self) -> String {
        format!("{}#{}", named(&self.interface), self.name)
    }
}

/// All of it.
pub(crate) struct Wit {
    pub(super) resolve: Resolve,
    pub(super) items: Vec<Item>,
}

impl Wit {
    /// That of wasmtime's crates, of which the linker is made, and of the drafts.
    pub(crate) fn read() -> Self {
        let mut resolve = Resolve { all_features: true, ..Resolve::default() };
        resolve.push_dir(folder()).unwrap();
        for draft in [DRAFTS, LOGGING, KEYVALUE, KEYVALUE_2] {
            resolve.push_str("draft.wit", draft).unwrap();
        }
        let mut items = Vec::new();
        for (id, interface) in &resolve.interfaces {
            let Some(name) = resolve.id_of(id) else { continue };
            for function in interface.functions.values() {
                let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
                items.push(Item {
                    interface: name.clone(),
                    name: function.name.clone(),
                    params: signature.params,
                    results: signature.results,
                    has_return_pointer: signature.retptr,
                    function: Some(function.clone()),
                });
            }
            for (resource, id) in &interface.types {
                if matches!(resolve.types[*id].kind, TypeDefKind::Resource) {
                    items.push(Item {
                        interface: name.clone(),
                        name: format!("[resource-drop]{resource}"),
                        params: vec![WasmType::I32],
                        results: vec![],
                        has_return_pointer: false,
                        function: None,
                    });
                }
            }
        }
        Wit { resolve, items }
    }

    /// The same as of another version of WASI's 0.2.
    pub(crate) fn of_version(&self, version: &str) -> Self {
        let mut resolve = self.resolve.clone();
        for (_id, package) in &mut resolve.packages {
            if package.name.namespace == "wasi" && package.name.version.as_ref().is_some_and(|it| it.pre.is_empty()) {
                package.name.version = Some(version.parse().unwrap());
            }
        }
        resolve.package_names = resolve.packages.iter().map(|(id, package)| (package.name.clone(), id)).collect();
        Wit { resolve, items: Vec::new() }
    }

    /// The component of this module that has this world, of a package of its own.
    pub(crate) fn component(&self, package: &str, world: &str, mut module: Vec<u8>) -> Vec<u8> {
        let mut resolve = self.resolve.clone();
        let package = resolve.push_str("own.wit", package).unwrap();
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }

    pub(super) fn item(&self, path: &str) -> &Item {
        self.items.iter().find(|item| item.path() == path).unwrap_or_else(|| panic!("{path}"))
    }

    /// The interface that a type is of, as the table names it.
    pub(super) fn interface_of(&self, id: TypeId) -> Option<String> {
        let TypeOwner::Interface(owner) = self.resolve.types[id].owner else { return None };
        Some(named(&self.resolve.id_of(owner)?).to_owned())
    }

    /// Is it a list?
    pub(super) fn is_list(&self, ty: &Type) -> bool {
        match ty {
            Type::Id(id) => match &self.resolve.types[*id].kind {
                TypeDefKind::List(_) => true,
                TypeDefKind::Type(ty) => self.is_list(ty),
                _ => false,
            },
            _ => false,
        }
    }

    /// What a list of handles has.
    pub(super) fn listed_handle(&self, ty: &Type) -> Option<Type> {
        let Type::Id(id) = ty else { return None };
        match &self.resolve.types[*id].kind {
            TypeDefKind::Type(ty) => self.listed_handle(ty),
            TypeDefKind::List(Type::Id(id)) if matches!(self.resolve.types[*id].kind, TypeDefKind::Handle(_)) => {
                Some(Type::Id(*id))
            }
            _ => None,
        }
    }

    /// Does a value of this type have as many bytes, or elements, as a guest says?
    pub(super) fn is_sized(&self, ty: &Type) -> bool {
        match ty {
            Type::String => true,
            Type::Id(id) => match &self.resolve.types[*id].kind {
                TypeDefKind::List(_) => true,
                TypeDefKind::Type(ty) | TypeDefKind::Option(ty) => self.is_sized(ty),
                TypeDefKind::Record(record) => record.fields.iter().any(|field| self.is_sized(&field.ty)),
                TypeDefKind::Tuple(tuple) => tuple.types.iter().any(|ty| self.is_sized(ty)),
                TypeDefKind::Variant(variant) => {
                    variant.cases.iter().any(|case| case.ty.is_some_and(|ty| self.is_sized(&ty)))
                }
                TypeDefKind::Result(result) => [result.ok, result.err].iter().flatten().any(|ty| self.is_sized(ty)),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Where cargo has the WIT of wasmtime-wasi-http: the packages of WASI 0.2 that its interfaces and those of wasmtime-wasi are made of.
fn folder() -> PathBuf {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .arg("--manifest-path")
        .arg(format!("{}/Cargo.toml", std::env::var("CARGO_MANIFEST_DIR").unwrap()))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "wasmtime-wasi-http").unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap()).with_file_name("wit")
}
