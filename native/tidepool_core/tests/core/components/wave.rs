//! Values as text, as wasmtime's command line takes and prints them:
//! [WAVE](https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave).

use tidepool_core::value::Value;

use super::types::Ty;

/// Words that are no names unless `%` stands before them.
const KEYWORDS: [&str; 8] = ["true", "false", "inf", "nan", "some", "none", "ok", "err"];

/// A value of the type.
pub(super) fn write(ty: &Ty, value: &Value) -> String {
    match (ty, value) {
        (_, Value::Bool(bool)) => bool.to_string(),
        (_, Value::Int(integer)) => integer.to_string(),
        (Ty::F32, Value::Float(float)) => number(&(*float as f32).to_string()),
        (_, Value::Float(float)) => number(&float.to_string()),
        (Ty::Char, Value::Text(text)) => format!("'{}'", escaped(text)),
        (_, Value::Text(text)) => format!("\"{}\"", escaped(text)),
        (_, Value::Bytes(bytes)) => format!("[{}]", joined(bytes.iter().map(u8::to_string))),
        (Ty::List(ty), Value::List(values)) => format!("[{}]", joined(values.iter().map(|value| write(ty, value)))),
        (Ty::Tuple(types), Value::Tuple(values)) => {
            format!("({})", joined(types.iter().zip(values).map(|(ty, value)| write(ty, value))))
        }
        (Ty::Record(types), Value::Record(fields)) => {
            let field = |((name, ty), (_, value)): (&(&str, Ty), &(Box<str>, Value))| {
                format!("{}: {}", named(name), write(ty, value))
            };
            format!("{{{}}}", joined(types.iter().zip(fields).map(field)))
        }
        (Ty::Flags(_), Value::Flags(flags)) => {
            format!("{{{}}}", joined(flags.iter().filter(|(_, set)| *set).map(|(name, _)| name.to_string())))
        }
        (Ty::Option(_), Value::Option(None)) => "none".into(),
        (Ty::Option(ty), Value::Option(Some(value))) => format!("some({})", write(ty, value)),
        (Ty::Result(..), Value::Name(name)) => short(name).into(),
        (Ty::Result(ok, error), Value::Case(name, value)) => {
            let ty = if &**name == "ok" { ok } else { error };
            format!("{}({})", short(name), write(ty.as_ref().expect("a case with a value has its type"), value))
        }
        (Ty::Variant(cases), Value::Case(name, value)) => {
            let (_, ty) = cases.iter().find(|(case, _)| *case == &**name).expect("a case of the type");
            format!("{}({})", named(name), write(ty.as_ref().expect("a case with a value has its type"), value))
        }
        (_, Value::Name(name)) => named(name),
        (ty, value) => panic!("{value:?} is no {ty:?}"),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn number(text: &str) -> String {
    text.replace("NaN", "nan")
}

fn escaped(text: &str) -> String {
    let escape = |char: char| {
        if char.is_alphanumeric() || char == ' ' { char.to_string() } else { format!("\\u{{{:x}}}", u32::from(char)) }
    };
    text.chars().map(escape).collect()
}

fn named(name: &str) -> String {
    if KEYWORDS.contains(&name) { format!("%{name}") } else { name.into() }
}

/// The cases of a result.
fn short(name: &str) -> &str {
    if name == "ok" { "ok" } else { "err" }
}

/// A value of the type, from its text.
pub(super) fn read(ty: &Ty, text: &str) -> Value {
    let mut reader = Reader { rest: text.trim() };
    let value = reader.value(ty);
    assert_eq!(reader.rest, "", "behind the value in {text}");
    value
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, ty: &Ty) -> Value {
        match ty {
            Ty::Bool => Value::Bool(self.word() == "true"),
            Ty::Int { .. } => Value::Int(self.word().parse().unwrap()),
            Ty::F32 => Value::Float(Value::widened(self.word().parse::<f32>().unwrap())),
            Ty::F64 => Value::Float(self.word().parse().unwrap()),
            Ty::Char | Ty::String => Value::Text(self.quoted().into()),
            Ty::List(ty) => listed(ty, self.all("[", "]", |reader| reader.value(ty))),
            Ty::Tuple(types) => {
                let mut types = types.iter();
                Value::Tuple(self.all("(", ")", |reader| reader.value(types.next().unwrap())))
            }
            Ty::Record(types) => self.record(types),
            Ty::Flags(names) => {
                let set = self.all("{", "}", |reader| reader.word().to_owned());
                Value::Flags(names.iter().map(|name| ((*name).into(), set.iter().any(|it| it == name))).collect())
            }
            Ty::Enum(_) => Value::Name(self.word().into()),
            Ty::Option(ty) => match self.word() {
                "none" => Value::Option(None),
                _some => Value::Option(Some(Box::new(self.inner(ty)))),
            },
            Ty::Result(ok, error) => match self.word() {
                "ok" => self.case("ok", ok.as_deref()),
                _err => self.case("error", error.as_deref()),
            },
            Ty::Variant(cases) => {
                let name = self.word();
                let (_, ty) = cases.iter().find(|(case, _)| *case == name).unwrap();
                self.case(name, ty.as_ref())
            }
        }
    }

    /// Fields that are not there are options that have nothing.
    fn record(&mut self, types: &[(&'static str, Ty)]) -> Value {
        if self.takes("{:}") {
            return Value::Record(types.iter().map(|(name, _)| ((*name).into(), Value::Option(None))).collect());
        }
        let mut found = self.all("{", "}", |reader| {
            let name = reader.word().to_owned();
            assert!(reader.takes(":"), "no value for {name}");
            let (_, ty) = types.iter().find(|(field, _)| *field == name).unwrap();
            (name, reader.value(ty))
        });
        let mut field = |name: &str| match found.iter().position(|(field, _)| field == name) {
            Some(at) => found.swap_remove(at).1,
            None => Value::Option(None),
        };
        Value::Record(types.iter().map(|(name, _)| ((*name).into(), field(name))).collect())
    }

    fn case(&mut self, name: &str, ty: Option<&Ty>) -> Value {
        match ty {
            Some(ty) => Value::Case(name.into(), Box::new(self.inner(ty))),
            None => Value::Name(name.into()),
        }
    }

    /// A value in parentheses.
    fn inner(&mut self, ty: &Ty) -> Value {
        assert!(self.takes("("));
        let value = self.value(ty);
        assert!(self.takes(")"));
        value
    }

    fn all<T>(&mut self, open: &str, close: &str, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        assert!(self.takes(open), "{open} is not before {}", self.rest);
        let mut all = Vec::new();
        while !self.takes(close) {
            all.push(one(self));
            self.takes(",");
        }
        all
    }

    fn takes(&mut self, what: &str) -> bool {
        let rest = self.rest.trim_start();
        let taken = rest.strip_prefix(what);
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    /// A number, a name or a keyword.
    fn word(&mut self) -> &'a str {
        self.takes("%");
        let ends = self.rest.find(|char: char| !char.is_ascii_alphanumeric() && !"-+.".contains(char));
        let (word, rest) = self.rest.split_at(ends.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let mut chars = self.rest.char_indices();
        let (_, quote) = chars.next().unwrap();
        let mut text = String::new();
        loop {
            match chars.next().unwrap() {
                (at, char) if char == quote => {
                    self.rest = &self.rest[at + 1..];
                    return text;
                }
                (_, '\\') => text.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    'u' => {
                        let digits: String =
                            chars.by_ref().map(|(_, char)| char).skip(1).take_while(|char| *char != '}').collect();
                        char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
                    }
                    itself => itself,
                }),
                (_, char) => text.push(char),
            }
        }
    }
}

/// Elements of a list of the type, as a result has it.
pub(super) fn listed(ty: &Ty, values: Vec<Value>) -> Value {
    let byte =
        |value: &Value| if let Value::Int(byte) = value { u8::try_from(*byte).unwrap() } else { panic!("{value:?}") };
    match ty {
        Ty::Int { signed: false, bits: 8 } => Value::Bytes(values.iter().map(byte).collect()),
        _ => Value::List(values),
    }
}
