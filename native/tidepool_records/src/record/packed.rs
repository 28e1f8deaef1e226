//! Bytes of a change, each as what it is: serde takes them for lists of numbers otherwise.

/// Bytes that are shared.
pub(super) mod bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        serde_bytes::ByteBuf::deserialize(from).map(|bytes| bytes.into_vec().into())
    }
}

/// Keys, and values that are to be there or not.
pub(super) mod values {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::{ByteBuf, Bytes};

    type Values = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    pub(crate) fn serialize<S: Serializer>(values: &Values, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|(key, value)| (Bytes::new(key), value.as_deref().map(Bytes::new))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Values, D::Error> {
        let values: Vec<(ByteBuf, Option<ByteBuf>)> = Vec::deserialize(from)?;
        Ok(values.into_iter().map(|(key, value)| (key.into_vec(), value.map(ByteBuf::into_vec))).collect())
    }
}
