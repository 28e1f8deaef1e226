//! Guests that call one function again and again, with the largest arguments that fit their memory.

use std::collections::BTreeMap;
use std::fmt::Write;

use wit_parser::abi::{FlatTypes, WasmType};
use wit_parser::{Handle, SizeAlign, Type, TypeDefKind};

use super::wit::{Item, Wit};

/// The interface of a program.
const RUN: &str = "wasi:cli/run@0.2.12";
/// A guest's memory: results are written from the first MiB on, arguments lie behind [`ARGUMENTS`].
const PAGES: usize = 512;
const ARGUMENTS: usize = 8 << 20;
/// Largest bytes of an argument.
pub(super) const LARGEST: usize = PAGES * 65_536 - ARGUMENTS;
/// Where a text lies that is the name of a file.
const NAME: &str = "(i32.const 32) (i32.const 1)";

/// What lies in the memory of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Filled {
    /// Zeros: empty lists and texts, as elements of a list.
    Zeros,
    /// The number one as an `i32` again and again: the first handle, or lists of one byte.
    Ones,
    /// A letter.
    Letters,
    /// Lines of a letter.
    Lines,
}

impl Filled {
    fn pattern(self) -> u64 {
        match self {
            Filled::Zeros => 0,
            Filled::Ones => 0x0000_0001_0000_0001,
            Filled::Letters => 0x6161_6161_6161_6161,
            Filled::Lines => 0x0a61_0a61_0a61_0a61,
        }
    }
}

/// What is written of a guest.
pub(crate) struct Guest<'a> {
    wit: &'a Wit,
    used: BTreeMap<String, usize>,
    /// What is done before the loop, and the handles that it sets.
    before: String,
    handles: usize,
}

impl<'a> Guest<'a> {
    pub(crate) fn new(wit: &'a Wit) -> Self {
        Guest { wit, used: BTreeMap::new(), before: String::new(), handles: 0 }
    }

    /// A call of a function.
    fn call(&mut self, path: &str, arguments: &str) -> String {
        let next = self.used.len();
        let number = *self.used.entry(path.into()).or_insert(next);
        format!("(call $f{number} {arguments})")
    }

    /// A call whose result is read at a place behind its pointer.
    fn called(&mut self, path: &str, arguments: &str, at: usize) -> String {
        let call = self.call(path, &format!("{arguments} (i32.const 16)"));
        format!("(block (result i32) {call} (i32.load (i32.const {at})))")
    }

    /// Has the guest import a function, without a call of it.
    pub(super) fn import(&mut self, path: &str) {
        self.call(path, "");
    }

    /// What makes a handle of this resource, in each way that there is.
    fn handle(&mut self, resource: &str, of: &str) -> Option<String> {
        let (resource, way) = resource.split_once('/').unwrap_or((resource, ""));
        Some(match (resource, way) {
            ("fields", _) => self.call("wasi:http/types#[constructor]fields", ""),
            ("outgoing-request", _) => {
                let fields = self.handle("fields", of)?;
                self.call("wasi:http/types#[constructor]outgoing-request", &fields)
            }
            ("outgoing-response", _) => {
                let fields = self.handle("fields", of)?;
                self.call("wasi:http/types#[constructor]outgoing-response", &fields)
            }
            ("future-incoming-response", _) => {
                let request = self.handle("outgoing-request", of)?;
                let arguments = format!("{request} (i32.const 0) (i32.const 0)");
                self.called("wasi:http/outgoing-handler#handle", &arguments, 24)
            }
            ("request-options", _) => self.call("wasi:http/types#[constructor]request-options", ""),
            ("outgoing-body", _) => {
                let request = self.handle("outgoing-request", of)?;
                self.called("wasi:http/types#[method]outgoing-request.body", &request, 20)
            }
            ("output-stream", "") => self.call("wasi:cli/stdout#get-stdout", ""),
            ("output-stream", "body") => {
                let body = self.handle("outgoing-body", of)?;
                self.called("wasi:http/types#[method]outgoing-body.write", &body, 20)
            }
            ("output-stream", "file") => {
                let file = self.handle("descriptor", "")?;
                let arguments = format!("{file} (i64.const 0)");
                self.called("wasi:filesystem/types#[method]descriptor.write-via-stream", &arguments, 20)
            }
            ("input-stream", "") => self.call("wasi:cli/stdin#get-stdin", ""),
            ("input-stream", "file") => {
                let file = self.handle("descriptor", "")?;
                let arguments = format!("{file} (i64.const 0)");
                self.called("wasi:filesystem/types#[method]descriptor.read-via-stream", &arguments, 20)
            }
            ("pollable", _) => self.call("wasi:clocks/monotonic-clock#subscribe-duration", "(i64.const 0)"),
            ("network", _) => self.call("wasi:sockets/instance-network#instance-network", ""),
            ("tcp-socket", _) => self.called("wasi:sockets/tcp-create-socket#create-tcp-socket", "(i32.const 0)", 20),
            ("udp-socket", _) => self.called("wasi:sockets/udp-create-socket#create-udp-socket", "(i32.const 0)", 20),
            ("outgoing-datagram-stream" | "incoming-datagram-stream", _) => {
                let socket = self.handle("udp-socket", of)?;
                let network = self.handle("network", of)?;
                let address = "(i32.const 0) (i32.const 0) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)";
                let zeros = "(i32.const 0) ".repeat(6);
                let bind = self.call(
                    "wasi:sockets/udp#[method]udp-socket.start-bind",
                    &format!("(local.tee $s {socket}) {network} {address} {zeros} (i32.const 16)"),
                );
                let bound =
                    self.call("wasi:sockets/udp#[method]udp-socket.finish-bind", "(local.get $s) (i32.const 16)");
                let none = "(i32.const 0) ".repeat(13);
                let at = if resource.starts_with('i') { 20 } else { 24 };
                let stream =
                    self.called("wasi:sockets/udp#[method]udp-socket.stream", &format!("(local.get $s) {none}"), at);
                format!("(block (result i32) {bind} {bound} {stream})")
            }
            ("descriptor", _) => {
                let all = self.call("wasi:filesystem/preopens#get-directories", "(i32.const 16)");
                let folder = format!("(block (result i32) {all} (i32.load (i32.load (i32.const 16))))");
                if of.contains("-at") || of.contains("director") {
                    return Some(folder);
                }
                let arguments = format!("{folder} (i32.const 0) {NAME} (i32.const 1) (i32.const 3)");
                self.called("wasi:filesystem/types#[method]descriptor.open-at", &arguments, 20)
            }
            _ => return None,
        })
    }

    /// The same of a resource of this interface.
    fn made(&mut self, resource: &str, interface: &str, of: &str, way: &str) -> Option<String> {
        let open = "wasi:keyvalue/store";
        Some(match resource {
            "bucket" => {
                let version = interface.split_once('@').map_or("0.2.0-draft2", |(_name, version)| version);
                self.called(&format!("{open}@{version}#open"), NAME, 20)
            }
            // An answer of a store, which programs that are called have.
            "cas" if way == "answered" => {
                let bucket = self.called(&format!("{open}@0.2.0-draft2#open"), NAME, 20);
                self.called("wasi:keyvalue/atomics@0.2.0-draft2#[static]cas.new", &format!("{bucket} {NAME}"), 20)
            }
            "cas" => return None,
            _ => self.handle(&format!("{resource}/{way}"), of)?,
        })
    }

    /// The value of a parameter as core values, of so many bytes where a guest says how many; `None` when it can't be made.
    fn argument(&mut self, ty: &Type, size: usize, of: &str, way: &str) -> Option<Vec<String>> {
        let resolve = &self.wit.resolve;
        let one = |text: String| Some(vec![text]);
        match ty {
            Type::U64 | Type::S64 => one(format!("(i64.const {})", if size == LARGEST { -1 } else { size as i64 })),
            Type::F32 => one("(f32.const 0)".into()),
            Type::F64 => one("(f64.const 0)".into()),
            Type::String => Some(vec![format!("(i32.const {ARGUMENTS})"), format!("(i32.const {size})")]),
            Type::Id(id) => match &resolve.types[*id].kind {
                TypeDefKind::Type(ty) => self.argument(ty, size, of, way),
                TypeDefKind::List(element) => {
                    let mut sizes = SizeAlign::default();
                    sizes.fill(resolve);
                    let count = size / sizes.size(element).size_wasm32();
                    Some(vec![format!("(i32.const {ARGUMENTS})"), format!("(i32.const {count})")])
                }
                TypeDefKind::Handle(Handle::Borrow(id) | Handle::Own(id)) => {
                    let mut id = *id;
                    while let TypeDefKind::Type(Type::Id(next)) = resolve.types[id].kind {
                        id = next;
                    }
                    let resource = resolve.types[id].name.clone()?;
                    let interface = self.wit.interface_of(id)?;
                    let made = self.made(&resource, &interface, of, way)?;
                    let number = self.handles;
                    self.handles += 1;
                    writeln!(self.before, "(local.set $h{number} {made})").unwrap();
                    one(format!("(local.get $h{number})"))
                }
                TypeDefKind::Record(record) => {
                    let types: Vec<Type> = record.fields.iter().map(|field| field.ty).collect();
                    self.all(&types, size, of, way)
                }
                TypeDefKind::Tuple(tuple) => self.all(&tuple.types.clone(), size, of, way),
                TypeDefKind::Option(some) => self.case(ty, 1, Some(*some), size, of, way),
                TypeDefKind::Variant(variant) => {
                    let sized = variant.cases.iter().position(|case| case.ty.is_some_and(|ty| self.wit.is_sized(&ty)));
                    let found = sized.unwrap_or(0);
                    self.case(ty, found, variant.cases[found].ty, size, of, way)
                }
                TypeDefKind::Result(result) => self.case(ty, 1, result.err, size, of, way),
                _ => one("(i32.const 0)".into()),
            },
            _ => one("(i32.const 0)".into()),
        }
    }

    fn all(&mut self, types: &[Type], size: usize, of: &str, way: &str) -> Option<Vec<String>> {
        let all: Option<Vec<_>> = types.iter().map(|ty| self.argument(ty, size, of, way)).collect();
        Some(all?.concat())
    }

    /// A case of a variant: its number, and its value as wide as that of any case.
    fn case(
        &mut self,
        ty: &Type,
        case: usize,
        of: Option<Type>,
        size: usize,
        name: &str,
        way: &str,
    ) -> Option<Vec<String>> {
        let value = match of {
            Some(ty) => self.argument(&ty, size, name, way)?,
            None => vec![],
        };
        let mut storage = [WasmType::I32; 32];
        let mut flat = FlatTypes::new(&mut storage);
        self.wit.resolve.push_flat(ty, &mut flat);
        let rest = flat.to_vec().into_iter().skip(1).enumerate();
        let rest = rest.map(|(place, wide)| match (wide, value.get(place)) {
            (WasmType::I64 | WasmType::PointerOrI64, Some(value)) if value.starts_with("(i32") => {
                format!("(i64.extend_i32_u {value})")
            }
            (WasmType::I64 | WasmType::PointerOrI64, None) => "(i64.const 0)".into(),
            (_, Some(value)) => value.clone(),
            (_, None) => "(i32.const 0)".into(),
        });
        Some([vec![format!("(i32.const {case})")], rest.collect()].concat())
    }

    /// A program that calls `item` again and again; `None` when it can't have what that is called on.
    pub(super) fn calling(mut self, item: &Item, size: usize, filled: Filled, way: &str) -> Option<Vec<u8>> {
        // The first handle that a guest has is the number one: what `Filled::Ones` has in lists of handles.
        let wit = self.wit;
        for handle in item.function.as_ref()?.params.iter().filter_map(|param| wit.listed_handle(&param.ty)) {
            self.argument(&handle, 0, &item.name, way)?;
        }
        let call = self.prepared(item, size, way)?;
        let call = if item.results.is_empty() { call } else { format!("(drop {call})") };
        let body = format!("{} {} (loop $again {call} (br $again))", fill(size, filled), self.before);
        Some(self.component(&body))
    }

    /// A program that calls `item` once, and traps unless its result has this number at this place; `None` as above.
    pub(super) fn expecting(
        mut self,
        item: &Item,
        size: usize,
        filled: Filled,
        (at, number): (usize, usize),
    ) -> Option<Vec<u8>> {
        let call = self.prepared(item, size, "")?;
        let is_other = format!("(i32.ne (i32.load (i32.const {at})) (i32.const {number}))");
        let body = format!("{} {} {call} (if {is_other} (then (unreachable)))", fill(size, filled), self.before);
        Some(self.component(&body))
    }

    /// A program that calls `item` once, and writes the memory that this leaves to its standard output; `None` as above.
    pub(crate) fn telling(mut self, item: &Item, size: usize, filled: Filled, way: &str) -> Option<Vec<u8>> {
        let call = self.prepared(item, size, way)?;
        let call = match item.results.first() {
            None => call,
            Some(WasmType::I64 | WasmType::PointerOrI64) => format!("(i64.store (i32.const 64) {call})"),
            Some(_) => format!("(i32.store (i32.const 64) {call})"),
        };
        let stdout = self.call("wasi:cli/stdout#get-stdout", "");
        let write = "(local.get $s) (local.get $at) (i32.const 4096) (i32.const 4096)";
        let write = self.call("wasi:io/streams#[method]output-stream.blocking-write-and-flush", write);
        let tell = |from: usize, to: usize| {
            format!(
                "(local.set $at (i32.const {from}))
                 (loop $tell{from} {write}
                   (br_if $tell{from} (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096)))
                     (i32.const {to}))))"
            )
        };
        let (low, high) = (tell(0, 4_096), tell(1 << 20, (1 << 20) + (32 << 10)));
        let body = format!("{} {} {call} (local.set $s {stdout}) {low} {high}", fill(size, filled), self.before);
        Some(self.component(&body))
    }

    /// A call of `item`, whose handles are made before.
    fn prepared(&mut self, item: &Item, size: usize, way: &str) -> Option<String> {
        let Some(function) = &item.function else {
            let resource = item.name.strip_prefix("[resource-drop]")?;
            let made = self.made(resource, &item.interface, &item.name, way)?;
            return Some(self.call(&item.path(), &made));
        };
        let types: Vec<Type> = function.params.iter().map(|param| param.ty).collect();
        let mut arguments = self.all(&types, size, &item.name, way)?;
        if arguments.len() + usize::from(item.has_return_pointer) != item.params.len() {
            return None;
        }
        if item.has_return_pointer {
            arguments.push("(i32.const 16)".into());
        }
        Some(self.call(&item.path(), &arguments.join(" ")))
    }

    /// The component whose `run` does this.
    pub(super) fn component(&self, body: &str) -> Vec<u8> {
        let items: Vec<(&Item, usize)> =
            self.used.iter().map(|(path, number)| (self.wit.item(path), *number)).collect();
        let ty = |ty: &WasmType| match ty {
            WasmType::I64 | WasmType::PointerOrI64 => "i64",
            WasmType::F32 => "f32",
            WasmType::F64 => "f64",
            WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        };
        let list = |types: &[WasmType]| types.iter().map(ty).collect::<Vec<_>>().join(" ");
        let imports: String = items
            .iter()
            .map(|(item, number)| {
                format!(
                    "(import \"{}\" \"{}\" (func $f{number} (param {}) (result {})))\n",
                    item.interface,
                    item.name,
                    list(&item.params),
                    list(&item.results)
                )
            })
            .collect();
        let locals: String = (0..self.handles).map(|number| format!("(local $h{number} i32)")).collect();
        let module = crate::support::wat(&format!(
            r#"(module {imports}
                 (memory (export "memory") {PAGES})
                 (data (i32.const 1) "a") (data (i32.const 32) "f")
                 (global $next (mut i32) (i32.const 1048576))
                 (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local i32)
                   (local.set 4 (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                   (if (i32.gt_u (i32.add (local.get 4) (local.get 3)) (i32.const {ARGUMENTS}))
                     (then (local.set 4 (i32.const 1048576))))
                   (global.set $next (i32.add (local.get 4) (local.get 3)))
                   (local.get 4))
                 (func (export "{RUN}#run") (result i32) (local $s i32) (local $at i32) {locals} {body} (i32.const 0)))"#
        ));
        let mut interfaces: Vec<&str> = items.iter().map(|(item, _number)| &*item.interface).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        let imported: String = interfaces.iter().map(|interface| format!("import {interface};\n")).collect();
        let package = format!("package walk:walk;\nworld walk {{ {imported} export {RUN}; }}");
        self.wit.component(&package, "walk", module)
    }
}

/// Fills the memory of arguments.
fn fill(size: usize, filled: Filled) -> String {
    format!(
        "(local.set $at (i32.const {ARGUMENTS}))
         (loop $fill
           (i64.store (local.get $at) (i64.const {}))
           (local.set $at (i32.add (local.get $at) (i32.const 8)))
           (br_if $fill (i32.lt_u (local.get $at) (i32.const {}))))",
        filled.pattern(),
        ARGUMENTS + size
    )
}
