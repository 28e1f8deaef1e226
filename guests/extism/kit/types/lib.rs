//! Inputs and outputs of other types than bytes, as the crate encodes them.

use extism_pdk::*;

#[derive(serde::Deserialize, serde::Serialize)]
struct Place {
    name: String,
    depth: f64,
    #[serde(default)]
    tides: Vec<i64>,
}

/// JSON in, and JSON out.
#[plugin_fn]
pub fn by_json(Json(mut place): Json<Place>) -> FnResult<Json<Place>> {
    place.depth *= 2.0;
    place.tides.sort_unstable();
    Ok(Json(place))
}

/// JSON in, and MessagePack out.
#[plugin_fn]
pub fn by_msgpack(Json(place): Json<Place>) -> FnResult<Msgpack<Place>> {
    Ok(Msgpack(place))
}

/// MessagePack there and back.
#[plugin_fn]
pub fn unpacks(Msgpack(place): Msgpack<Place>) -> FnResult<String> {
    Ok(format!("{} is {} deep, {:?}", place.name, place.depth, place.tides))
}

/// Its output is set before it returns, and nothing is returned.
#[plugin_fn]
pub fn as_base64(text: String) -> FnResult<()> {
    output(Base64(text))?;
    Ok(())
}

/// A number, as its bytes.
#[plugin_fn]
pub fn doubled(number: i64) -> FnResult<i64> {
    Ok(number.wrapping_mul(2))
}

#[plugin_fn]
pub fn letters(text: String) -> FnResult<String> {
    Ok(format!("{} bytes, {} letters, {}", text.len(), text.chars().count(), text.to_uppercase()))
}
