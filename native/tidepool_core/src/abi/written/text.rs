//! A type as WIT has it in an interface.

use wasmtime::component::Type;

use super::named::is_same;
use super::writer::{Writer, id};

impl Writer<'_> {
    /// A type as WIT has it in an interface: by its name, if it has one there.
    pub(in crate::abi) fn text(&mut self, scope: Option<&str>, ty: &Type, depth: usize) -> String {
        let interface = self.interface;
        if !self.looks_at(interface.types().len()) {
            return self.cut();
        }
        let mut here = interface.types().filter(|(of, _name, _ty)| *of == scope);
        let named = here.find(|(_of, _name, named)| is_same(named, ty, &mut self.looks_left));
        match named {
            Some((_of, name, _ty)) => self.name(name),
            None => self.structure(scope, ty, depth),
        }
    }

    pub(super) fn structure(&mut self, scope: Option<&str>, ty: &Type, depth: usize) -> String {
        if !self.take(depth) {
            return self.cut();
        }
        let depth = depth + 1;
        let word = match ty {
            Type::Bool => "bool",
            Type::S8 => "s8",
            Type::U8 => "u8",
            Type::S16 => "s16",
            Type::U16 => "u16",
            Type::S32 => "s32",
            Type::U32 => "u32",
            Type::S64 => "s64",
            Type::U64 => "u64",
            Type::Float32 => "f32",
            Type::Float64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::Own(ty) => return self.resource(scope, ty),
            Type::Borrow(ty) => return format!("borrow<{}>", self.resource(scope, ty)),
            Type::Future(_) => "future",
            Type::Stream(_) => "stream",
            Type::ErrorContext => "error-context",
            Type::List(list) => return format!("list<{}>", self.text(scope, &list.ty(), depth)),
            Type::FixedLengthList(list) => {
                return format!("list<{}, {}>", self.text(scope, &list.ty(), depth), list.len());
            }
            Type::Map(map) => {
                let key = self.text(scope, &map.key(), depth);
                return format!("map<{key}, {}>", self.text(scope, &map.value(), depth));
            }
            Type::Tuple(tuple) => {
                let types: Vec<String> = tuple.types().map(|ty| self.text(scope, &ty, depth)).collect();
                return format!("tuple<{}>", types.join(", "));
            }
            Type::Option(option) => return format!("option<{}>", self.text(scope, &option.ty(), depth)),
            Type::Result(result) => {
                let mut text = |ty: Option<Type>| ty.map(|ty| self.text(scope, &ty, depth));
                return match (text(result.ok()), text(result.err())) {
                    (None, None) => "result".into(),
                    (Some(ok), None) => format!("result<{ok}>"),
                    (ok, Some(error)) => format!("result<{}, {error}>", ok.as_deref().unwrap_or("_")),
                };
            }
            Type::Record(_) | Type::Variant(_) | Type::Enum(_) | Type::Flags(_) => {
                return self.adopted(scope, ty);
            }
        };
        word.into()
    }

    /// The lines of a type that is declared: `record {`, its fields, `}`.
    pub(super) fn body(&mut self, scope: Option<&str>, ty: &Type, depth: usize) -> Vec<String> {
        if !self.take_members(ty) {
            return vec![self.cut()];
        }
        let (keyword, members): (_, Vec<String>) = match ty {
            Type::Record(record) => {
                let field = |(name, ty): (&str, Type)| format!("{}: {},", id(name), self.text(scope, &ty, depth));
                ("record", record.fields().map(|it| (it.name, it.ty)).map(field).collect())
            }
            Type::Variant(variant) => {
                let mut case = |name: &str, ty: Option<Type>| match ty {
                    Some(ty) => format!("{}({}),", id(name), self.text(scope, &ty, depth)),
                    None => format!("{},", id(name)),
                };
                ("variant", variant.cases().map(|it| case(it.name, it.ty)).collect())
            }
            Type::Enum(names) => ("enum", names.names().map(|name| format!("{},", id(name))).collect()),
            Type::Flags(names) => ("flags", names.names().map(|name| format!("{},", id(name))).collect()),
            _ => return Vec::new(),
        };
        [vec![format!("{keyword} {{")], members, vec!["}".into()]].concat()
    }
}
