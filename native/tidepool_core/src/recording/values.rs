//! Values as bytes, each exactly: the payload of a number that is none, too.

use super::bytes::{Reader, Writer};
use super::damaged::Damaged;
use crate::value::{MAX_DEPTH, Value};

/// Writes a value; `false` of one that means nothing elsewhere, which handles do.
pub(super) fn write(writer: &mut Writer, value: &Value) -> bool {
    let mut all = |values: &[Value], tag: u8| {
        writer.byte(tag);
        writer.size(values.len());
        values.iter().all(|value| write(writer, value))
    };
    match value {
        Value::Null => writer.byte(0),
        Value::Bool(truth) => writer.raw(&[1, u8::from(*truth)]),
        Value::Int(integer) => {
            writer.byte(2);
            writer.raw(&integer.to_le_bytes());
        }
        Value::Float(float) => {
            writer.byte(3);
            writer.raw(&float.to_bits().to_le_bytes());
        }
        Value::Rounded(float) => {
            writer.byte(15);
            writer.raw(&float.to_bits().to_le_bytes());
        }
        Value::Text(text) => named(writer, 4, text),
        Value::Bytes(bytes) => {
            writer.byte(5);
            writer.bytes(bytes);
        }
        Value::Name(name) => named(writer, 6, name),
        Value::Case(name, value) => {
            named(writer, 7, name);
            return write(writer, value);
        }
        Value::Option(None) => writer.byte(8),
        Value::Option(Some(value)) => {
            writer.byte(9);
            return write(writer, value);
        }
        Value::List(values) => return all(values, 10),
        Value::Tuple(values) => return all(values, 11),
        Value::Record(fields) => {
            writer.byte(12);
            writer.size(fields.len());
            return fields.iter().all(|(name, value)| {
                writer.text(name);
                write(writer, value)
            });
        }
        Value::Flags(flags) => {
            writer.byte(13);
            writer.size(flags.len());
            for (name, is_set) in flags {
                writer.text(name);
                writer.byte(u8::from(*is_set));
            }
        }
        Value::ByteList(bytes) => {
            writer.byte(14);
            writer.bytes(bytes);
        }
        Value::Handle(_) => {
            writer.byte(0);
            return false;
        }
    }
    true
}

fn named(writer: &mut Writer, tag: u8, name: &str) {
    writer.byte(tag);
    writer.text(name);
}

/// Reads a value.
pub(super) fn read(reader: &mut Reader) -> Result<Value, Damaged> {
    within(reader, 0)
}

fn within(reader: &mut Reader, depth: usize) -> Result<Value, Damaged> {
    // One more than a guest's types have: arguments are a list of them.
    if depth > MAX_DEPTH + 1 {
        return Err(Damaged::Form);
    }
    let one = |reader: &mut Reader| within(reader, depth + 1);
    Ok(match reader.byte()? {
        0 => Value::Null,
        1 => Value::Bool(reader.byte()? != 0),
        2 => Value::Int(i128::from_le_bytes(reader.array()?)),
        3 => Value::Float(f64::from_bits(u64::from_le_bytes(reader.array()?))),
        4 => Value::Text(reader.text()?.into()),
        5 => Value::Bytes(reader.bytes()?),
        6 => Value::Name(reader.text()?.into()),
        7 => Value::Case(reader.text()?.into(), reader.boxed(one)?),
        8 => Value::Option(None),
        9 => Value::Option(Some(reader.boxed(one)?)),
        10 => Value::List(reader.several(one)?),
        11 => Value::Tuple(reader.several(one)?),
        12 => Value::Record(reader.several(|reader| Ok((reader.text()?.into(), one(reader)?)))?),
        13 => Value::Flags(reader.several(|reader| Ok((reader.text()?.into(), reader.byte()? != 0)))?),
        14 => Value::ByteList(reader.bytes()?),
        15 => Value::Rounded(f64::from_bits(u64::from_le_bytes(reader.array()?))),
        _ => return Err(Damaged::Form),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Reader, Writer, read, write};
    use crate::value::Value;

    fn name() -> impl Strategy<Value = Box<str>> {
        "\\PC{0,12}".prop_map(Into::into)
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i128>().prop_map(Value::Int),
            any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
            any::<u32>().prop_map(|whole| Value::Rounded(whole.into())),
            name().prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::ByteList(bytes.into())),
            name().prop_map(Value::Name),
            Just(Value::Option(None)),
            prop::collection::vec((name(), any::<bool>()), 0..5).prop_map(Value::Flags),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                (name(), inner.clone()).prop_map(|(name, value)| Value::Case(name, Box::new(value))),
                inner.clone().prop_map(|value| Value::Option(Some(Box::new(value)))),
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Tuple),
                prop::collection::vec((name(), inner), 0..6).prop_map(Value::Record),
            ]
        })
    }

    fn written(value: &Value) -> Bytes {
        let mut writer = Writer::default();
        assert!(write(&mut writer, value));
        writer.0.into()
    }

    proptest! {
        #[test]
        fn a_value_is_read_as_it_was_written_to_the_last_bit(value in value()) {
            let bytes = written(&value);
            let mut reader = Reader::of(bytes.clone());
            let again = read(&mut reader).map_err(|damaged| TestCaseError::fail(damaged.to_string()))?;
            prop_assert!(reader.is_empty());
            // Numbers that are none are not equal to themselves, and their bits are.
            prop_assert_eq!(written(&again), bytes);
        }

        #[test]
        fn what_is_no_value_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&mut Reader::of(bytes.into())));
        }

        #[test]
        fn a_value_that_is_cut_off_is_an_error(value in value(), cut in 1_usize..20) {
            let bytes = written(&value);
            prop_assert!(read(&mut Reader::of(bytes.slice(..bytes.len().saturating_sub(cut)))).is_err());
        }
    }

    #[test]
    fn a_list_that_would_take_more_memory_than_tapes_have_is_an_error() {
        let mut writer = Writer::default();
        writer.byte(10);
        writer.size(8 << 20);
        writer.raw(&vec![0; 8 << 20]);
        assert!(read(&mut Reader::of(writer.0.into())).is_err());
    }

    #[test]
    fn values_within_each_other_that_would_take_more_memory_than_tapes_have_are_an_error() {
        let within = |count: usize| {
            let mut writer = Writer::default();
            writer.byte(10);
            writer.size(count);
            writer.raw(&[vec![9; 60], vec![0]].concat().repeat(count));
            Reader::of(writer.0.into())
        };
        assert!(read(&mut within(1_000)).is_ok());
        // 8 MiB of these, which would be half a gigabyte.
        assert!(read(&mut within(140_000)).is_err());
    }

    #[test]
    fn a_value_that_lies_deeper_than_any_may_is_an_error() {
        assert!(read(&mut Reader::of(vec![9; 1 << 20].into())).is_err());
    }
}
