//! What is written as JSON is read as what it was; and what is no JSON is refused, in pieces however long it is.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::{JsonError, MAX_COUNT, MAX_DEPTH, Value, read, write};

/// The outcome of a future that waits for nothing but its pauses.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
    }
}

fn from(json: impl AsRef<[u8]>) -> Result<Value, JsonError> {
    now(read(json.as_ref(), || std::future::ready(())))
}

fn to(value: &Value) -> String {
    String::from_utf8(now(write(value, usize::MAX, || std::future::ready(()))).unwrap()).unwrap()
}

/// Values that are the same in JSON as here.
fn plain() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i128>().prop_map(Value::Int),
        any::<i8>().prop_map(|small| Value::Int(small.into())),
        any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::Float),
        any::<String>().prop_map(|text| Value::Text(text.into())),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|fields| Value::Record(fields.into_iter().map(|(name, it)| (name.into(), it)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(value in plain()) {
        prop_assert_eq!(from(to(&value)), Ok(value));
    }

    #[test]
    fn another_library_reads_the_same(value in plain()) {
        let json = to(&value);
        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(), "{}", json);
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let known = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        prop_assert!(from(&bytes).is_err() || known, "{:?}", bytes);
    }
}

#[test]
fn minus_zero_keeps_its_sign() {
    for json in ["-0", "-0.0", "-0e5"] {
        let Ok(Value::Float(zero)) = from(json) else { panic!("{json}") };
        assert!(zero == 0.0 && zero.is_sign_negative(), "{json}");
    }
    assert_eq!(to(&Value::Float(-0.0)), "-0.0");
    assert_eq!(from("0"), Ok(Value::Int(0)));
}

#[test]
fn what_json_has_no_number_for_has_a_name() {
    for (float, json) in [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")] {
        assert_eq!(to(&Value::Float(float)), format!("\"{json}\""));
        let back = from(format!("\"{json}\"")).unwrap().as_float().unwrap();
        assert!(back == float || back.is_nan() && float.is_nan(), "{json}");
    }
}

#[test]
fn a_number_has_as_many_digits_as_it_likes_and_is_none_when_it_is_too_large() {
    let digits = "1".repeat(10_000);
    for json in ["1e999", "-1e999", &digits] {
        let Err(JsonError::Syntax(text)) = from(json) else { panic!("{}", json.len()) };
        assert!(text.ends_with("is too large") && text.len() < 300, "{text}");
    }
    assert_eq!(from(format!("0.{digits}")), Ok(Value::Float(0.111_111_111_111_111_1)));
}

#[test]
fn a_number_that_is_whole_only_when_it_is_rounded_is_no_integer_and_one_that_is_whole_as_written_is() {
    for json in
        ["0.99999999999999999999", "4503599627370497.3", "-9007199254740990.6", "1e-400", "100000000000000000001e-20"]
    {
        let value = from(json).unwrap();
        let Value::Rounded(float) = value else { panic!("{json}: {value:?}") };
        assert_eq!((value.as_integer(), value.as_float()), (None, Some(float)), "{json}");
        assert_eq!(float, json.parse::<f64>().unwrap());
    }
    let whole = [("1.0", 1), ("1.50e1", 15), ("120e-1", 12), ("-12E2", -1_200), ("0.000e-99999999999999999999", 0)];
    for (json, integer) in whole.into_iter().chain([("4503599627370497.000", 4_503_599_627_370_497), ("1e0", 1)]) {
        assert_eq!(from(json).unwrap().as_integer(), Some(integer), "{json}");
    }
    for json in ["9007199254740993.0", "9007199254740992.0", "9007199254740991.5", "1.5", "1e300", "12e-1"] {
        assert_eq!(from(json).unwrap().as_integer(), None, "{json}");
    }
}

#[test]
fn nesting_is_bounded_whatever_it_is_nested_in() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(from(nested(MAX_DEPTH)).is_ok());
    for json in [nested(MAX_DEPTH + 1), "[".repeat(1 << 20), "{\"a\":".repeat(10_000)] {
        assert_eq!(from(json), Err(JsonError::Depth));
    }
}

#[test]
fn values_are_counted_those_within_others_too() {
    let list = |values: usize| format!("[{}1]", "[],".repeat(values - 2));
    assert!(from(list(MAX_COUNT)).is_ok());
    for json in [list(MAX_COUNT + 1), list(350_000)] {
        assert_eq!(from(json), Err(JsonError::Count));
    }
}

#[test]
fn a_long_list_of_bytes_is_one_however_long_and_one_of_other_numbers_is_counted() {
    let list = |length: usize, last: &str| format!("[[{}{last}]]", "7,".repeat(length - 1));
    let Ok(Value::List(arguments)) = from(list(1_000_000, "255")) else { panic!("it was not read") };
    let [value @ Value::ByteList(bytes)] = &arguments[..] else { panic!("{arguments:?}") };
    assert_eq!((bytes.len(), bytes.last()), (1_000_000, Some(&255)));
    assert_eq!(to(value).len(), 2 * 999_999 + 5);
    for last in ["256", "-1", "1.5", "\"a\"", "[]"] {
        let Ok(Value::List(arguments)) = from(list(5_000, last)) else { panic!("{last} was not read") };
        assert!(matches!(&arguments[..], [Value::List(values)] if values.len() == 5_000), "{last}");
        assert_eq!(from(list(MAX_COUNT, last)), Err(JsonError::Count), "{last}");
    }
    // A short one is a list as any other.
    assert_eq!(from("[[1,2]]"), Ok(Value::List(vec![Value::List(vec![Value::Int(1), Value::Int(2)])])));
    // Two long ones count as little.
    assert!(from(format!("[[{0}1],[{0}1]]", "1,".repeat(60_000))).is_ok());
}

#[test]
fn a_name_that_is_there_twice_is_named() {
    for json in [r#"{"a":1,"b":2,"a":3}"#, r#"[{"a":1,"\u0061":2}]"#] {
        assert_eq!(from(json), Err(JsonError::Twice("a".into())), "{json}");
    }
    let long = "x".repeat(1 << 20);
    let Err(JsonError::Twice(name)) = from(format!(r#"{{"{long}":1,"{long}":2}}"#)) else { panic!("it was read") };
    assert!(name.len() < 300);
}

#[test]
fn what_is_no_json_is_said_to_be_none() {
    for json in
        [&b""[..], b" ", b"[1,2", b"[1] 2", b"[1,]", b"{'a':1}", b"\"\xff\"", b"nul", b"[1 2]", b"\"\\ud800\"", b"01"]
    {
        assert!(matches!(from(json), Err(JsonError::Syntax(_))), "{}", String::from_utf8_lossy(json));
    }
}

#[test]
fn long_values_are_read_and_written_in_pieces() {
    let pauses = Cell::new(0);
    let pause = || {
        pauses.set(pauses.get() + 1);
        std::future::ready(())
    };
    let json = format!("[{}1]", "1,".repeat(50_000));
    let value = now(read(json.as_bytes(), pause)).unwrap();
    assert!(pauses.take() > 100);
    assert_eq!(now(write(&value, usize::MAX, pause)), Some(json.into_bytes()));
    assert!(pauses.take() > 100);
    let bytes = Value::Bytes(vec![200; 1 << 20].into());
    assert_eq!(now(write(&bytes, usize::MAX, pause)).unwrap().len(), 4 * (1 << 20) + 1);
    assert!(pauses.take() > 400);
    let texts = Value::List(vec![Value::Text("\0".repeat(1_000).into()); 500]);
    assert_eq!(now(write(&texts, usize::MAX, pause)).unwrap().len(), 500 * 6_003 + 1);
    assert!(pauses.take() > 200);
    // Of characters of several bytes, and those that are escaped.
    let text = "\"ä\n€𝄞".repeat(100_000);
    let json = now(write(&Value::Text(text.clone().into()), usize::MAX, pause)).unwrap();
    assert!(pauses.take() > 30);
    assert_eq!(from(json), Ok(Value::Text(text.into())));
}

#[test]
fn a_value_whose_json_is_longer_than_it_may_be_is_not_written_to_its_end() {
    for value in [Value::Bytes(vec![200; 1 << 20].into()), Value::Text("a".repeat(1 << 20).into()), Value::Int(10)] {
        let length = to(&value).len();
        let pauses = Cell::new(0);
        let pause = || {
            pauses.set(pauses.get() + 1);
            std::future::ready(())
        };
        assert_eq!(now(write(&value, length, pause)).map(|json| json.len()), Some(length));
        let whole = pauses.take();
        assert_eq!(now(write(&value, length - 1, pause)), None);
        assert_eq!(now(write(&value, length / 4, pause)), None);
        assert!(pauses.get() <= whole + whole / 3 + 1, "{} {whole}", pauses.get());
    }
}
