//! The schema of a type.

use serde_json::{Map, Value as Json, json};
use wasmtime::component::Type;

use super::writer::Writer;

impl Writer<'_> {
    pub(in crate::abi) fn schema(&mut self, ty: &Type, depth: usize) -> Json {
        if !self.take(depth) || !self.take_members(ty) {
            return json!(true);
        }
        let depth = depth + 1;
        let integer = |min: i128, max: i128| json!({"type": "integer", "minimum": number(min), "maximum": number(max)});
        match ty {
            Type::Bool => json!({"type": "boolean"}),
            Type::S8 => integer(i8::MIN.into(), i8::MAX.into()),
            Type::U8 => integer(0, u8::MAX.into()),
            Type::S16 => integer(i16::MIN.into(), i16::MAX.into()),
            Type::U16 => integer(0, u16::MAX.into()),
            Type::S32 => integer(i32::MIN.into(), i32::MAX.into()),
            Type::U32 => integer(0, u32::MAX.into()),
            Type::S64 => integer(i64::MIN.into(), i64::MAX.into()),
            Type::U64 => integer(0, u64::MAX.into()),
            Type::Float32 | Type::Float64 => {
                json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
            }
            Type::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
            Type::String => json!({"type": "string"}),
            Type::List(list) => json!({"type": "array", "items": self.schema(&list.ty(), depth)}),
            Type::FixedLengthList(list) => {
                let (items, len) = (self.schema(&list.ty(), depth), list.len());
                json!({"type": "array", "items": items, "minItems": len, "maxItems": len})
            }
            Type::Map(map) => {
                let pair = json!([self.schema(&map.key(), depth), self.schema(&map.value(), depth)]);
                json!({"type": "array", "items": {"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2}})
            }
            Type::Record(record) => {
                let (mut properties, mut required) = (Map::new(), Vec::new());
                for field in record.fields() {
                    properties.insert(field.name.into(), self.schema(&field.ty, depth));
                    if !matches!(field.ty, Type::Option(_)) {
                        required.push(field.name);
                    }
                }
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }
            Type::Tuple(tuple) => {
                let items: Vec<Json> = tuple.types().map(|ty| self.schema(&ty, depth)).collect();
                let len = items.len();
                json!({"type": "array", "prefixItems": items, "minItems": len, "maxItems": len})
            }
            Type::Variant(variant) => {
                let cases: Vec<Json> =
                    variant.cases().map(|case| self.case(case.name, case.ty.as_ref(), depth)).collect();
                json!({"oneOf": cases})
            }
            Type::Enum(names) => json!({"enum": names.names().collect::<Vec<_>>()}),
            Type::Option(option) => {
                let ty = option.ty();
                let within = self.schema(&ty, depth);
                let some = if matches!(ty, Type::Option(_)) { member("some", &within) } else { within };
                json!({"anyOf": [some, {"type": "null"}]})
            }
            Type::Result(result) => {
                let ok = self.case("ok", result.ok().as_ref(), depth);
                json!({"oneOf": [ok, self.case("error", result.err().as_ref(), depth)]})
            }
            Type::Flags(flags) => {
                let names: Vec<&str> = flags.names().collect();
                json!({"type": "array", "items": {"enum": names}, "uniqueItems": true})
            }
            Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => json!(false),
        }
    }

    fn case(&mut self, name: &str, ty: Option<&Type>, depth: usize) -> Json {
        match ty {
            Some(ty) => member(name, &self.schema(ty, depth)),
            None => json!({"const": name}),
        }
    }
}

fn member(name: &str, schema: &Json) -> Json {
    json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false})
}

/// An integer of at most 64 bits.
fn number(integer: i128) -> Json {
    i64::try_from(integer).map(Json::from).or_else(|_| u64::try_from(integer).map(Json::from)).unwrap_or(Json::Null)
}
