//! Types of WIT, made at random, as text, and values of them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use tidepool_core::value::Value;

/// Names of fields, cases and flags: among them those of the cases that options and results have.
const NAMES: [&str; 10] = ["some", "none", "ok", "error", "a", "two-words", "b2", "nil", "value", "null"];
/// Types within one another.
const DEPTH: u32 = 4;

#[derive(Debug, Clone)]
pub(super) enum Ty {
    Bool,
    Int { signed: bool, bits: u32 },
    F32,
    F64,
    Char,
    String,
    List(Box<Ty>),
    Record(Vec<(&'static str, Ty)>),
    Tuple(Vec<Ty>),
    Variant(Vec<(&'static str, Option<Ty>)>),
    Enum(Vec<&'static str>),
    Option(Box<Ty>),
    Result(Option<Box<Ty>>, Option<Box<Ty>>),
    Flags(Vec<&'static str>),
}

fn names(most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(NAMES.to_vec(), 1..=most).prop_shuffle()
}

/// Any type.
pub(super) fn ty() -> impl Strategy<Value = Ty> {
    let leaf = prop_oneof![
        Just(Ty::Bool),
        (any::<bool>(), 3_u32..=6).prop_map(|(signed, power)| Ty::Int { signed, bits: 1 << power }),
        Just(Ty::F32),
        Just(Ty::F64),
        Just(Ty::Char),
        Just(Ty::String),
        names(5).prop_map(Ty::Enum),
        names(10).prop_map(Ty::Flags),
    ];
    leaf.prop_recursive(DEPTH, 24, 4, |inner| {
        let maybe = || proptest::option::of(inner.clone());
        let fields = names(4).prop_flat_map({
            let inner = inner.clone();
            move |names| {
                vec(inner.clone(), names.len()).prop_map(move |types| names.iter().copied().zip(types).collect())
            }
        });
        let cases = names(4).prop_flat_map({
            let inner = inner.clone();
            move |names| {
                let types = vec(proptest::option::of(inner.clone()), names.len());
                types.prop_map(move |types| names.iter().copied().zip(types).collect())
            }
        });
        prop_oneof![
            inner.clone().prop_map(|ty| Ty::List(Box::new(ty))),
            fields.prop_map(Ty::Record),
            vec(inner.clone(), 1..4).prop_map(Ty::Tuple),
            cases.prop_map(Ty::Variant),
            inner.clone().prop_map(|ty| Ty::Option(Box::new(ty))),
            (maybe(), maybe()).prop_map(|(ok, error)| Ty::Result(ok.map(Box::new), error.map(Box::new))),
        ]
    })
}

/// A value of the type, as results have it.
pub(super) fn value(ty: &Ty) -> BoxedStrategy<Value> {
    match ty {
        Ty::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        &Ty::Int { signed, bits } => {
            let (least, most) =
                if signed { (-(1_i128 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
            prop_oneof![4 => least..=most, 1 => Just(least), 1 => Just(most)].prop_map(Value::Int).boxed()
        }
        Ty::F32 => any::<f32>().prop_map(|float| Value::Float(Value::widened(float))).boxed(),
        Ty::F64 => any::<f64>().prop_map(Value::Float).boxed(),
        Ty::Char => any::<char>().prop_map(|char| Value::Text(char.to_string().into())).boxed(),
        Ty::String => prop_oneof![".{0,8}", Just("some".to_owned()), Just("none".to_owned()), Just("NaN".to_owned())]
            .prop_map(|text| Value::Text(text.into()))
            .boxed(),
        Ty::List(ty) if matches!(**ty, Ty::Int { signed: false, bits: 8 }) => {
            vec(any::<u8>(), 0..8).prop_map(|bytes| Value::Bytes(bytes.into())).boxed()
        }
        Ty::List(ty) => vec(value(ty), 0..4).prop_map(Value::List).boxed(),
        Ty::Record(fields) => {
            let (names, values): (Vec<_>, Vec<_>) = fields.iter().map(|(name, ty)| (*name, value(ty))).unzip();
            values.prop_map(move |values| Value::Record(named(&names).zip(values).collect())).boxed()
        }
        Ty::Tuple(types) => types.iter().map(value).collect::<Vec<_>>().prop_map(Value::Tuple).boxed(),
        Ty::Variant(cases) => {
            let cases = cases.iter().map(|(name, ty)| case(name, ty.as_ref())).collect::<Vec<_>>();
            proptest::strategy::Union::new(cases).boxed()
        }
        Ty::Enum(names) => proptest::sample::select(names.clone()).prop_map(|name| Value::Name(name.into())).boxed(),
        Ty::Option(ty) => proptest::option::of(value(ty)).prop_map(|it| Value::Option(it.map(Box::new))).boxed(),
        Ty::Result(ok, error) => prop_oneof![case("ok", ok.as_deref()), case("error", error.as_deref())].boxed(),
        Ty::Flags(names) => {
            let names = names.clone();
            vec(any::<bool>(), names.len()).prop_map(move |set| Value::Flags(named(&names).zip(set).collect())).boxed()
        }
    }
}

fn named(names: &[&'static str]) -> impl Iterator<Item = Box<str>> {
    names.iter().map(|name| (*name).into())
}

fn case(name: &'static str, ty: Option<&Ty>) -> BoxedStrategy<Value> {
    match ty {
        Some(ty) => value(ty).prop_map(move |value| Value::Case(name.into(), Box::new(value))).boxed(),
        None => Just(Value::Name(name.into())).boxed(),
    }
}

/// Types as text. Those with names of their own have to be exported where an exported function has them.
#[derive(Default)]
pub(super) struct Text {
    pub(super) definitions: String,
    count: usize,
}

impl Text {
    /// How the type is told where it is used.
    pub(super) fn of(&mut self, ty: &Ty) -> String {
        match ty {
            Ty::Bool => "bool".into(),
            Ty::Int { signed, bits } => format!("{}{bits}", if *signed { 's' } else { 'u' }),
            Ty::F32 => "f32".into(),
            Ty::F64 => "f64".into(),
            Ty::Char => "char".into(),
            Ty::String => "string".into(),
            Ty::List(ty) => format!("(list {})", self.of(ty)),
            Ty::Tuple(types) => format!("(tuple {})", types.iter().map(|ty| self.of(ty)).collect::<Vec<_>>().join(" ")),
            Ty::Option(ty) => format!("(option {})", self.of(ty)),
            Ty::Result(ok, error) => {
                let ok = ok.as_ref().map(|ty| self.of(ty)).unwrap_or_default();
                let error = error.as_ref().map(|ty| format!("(error {})", self.of(ty))).unwrap_or_default();
                format!("(result {ok} {error})")
            }
            Ty::Record(fields) => {
                let fields = fields.iter().map(|(name, ty)| format!("(field {name:?} {})", self.of(ty)));
                let fields = fields.collect::<String>();
                self.exported(&format!("record {fields}"))
            }
            Ty::Variant(cases) => {
                let ty = |text: &mut Text, ty: &Option<Ty>| ty.as_ref().map(|ty| text.of(ty)).unwrap_or_default();
                let cases = cases.iter().map(|(name, it)| format!("(case {name:?} {})", ty(self, it)));
                let cases = cases.collect::<String>();
                self.exported(&format!("variant {cases}"))
            }
            Ty::Enum(names) => self.exported(&format!("enum {}", quoted(names))),
            Ty::Flags(names) => self.exported(&format!("flags {}", quoted(names))),
        }
    }

    fn exported(&mut self, ty: &str) -> String {
        let number = self.count;
        self.count += 1;
        self.definitions
            .push_str(&format!(r#"(type $d{number} ({ty})) (export $t{number} "t{number}" (type $d{number}))"#));
        format!("$t{number}")
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?} ")).collect()
}
