//! Variables: one, several at once, as many as there is room for, and numbers.

use extism_pdk::*;

/// Keeps `name=value`, and says what there was.
#[plugin_fn]
pub fn set(text: String) -> FnResult<String> {
    let (name, value) = text.split_once('=').ok_or_else(|| Error::msg("NAME=VALUE"))?;
    let before = var::get::<String>(name)?;
    var::set(name, value)?;
    Ok(before.unwrap_or_else(|| "nothing".into()))
}

#[plugin_fn]
pub fn get(name: String) -> FnResult<Vec<u8>> {
    Ok(var::get::<Vec<u8>>(&name)?.unwrap_or_else(|| b"nothing".to_vec()))
}

#[plugin_fn]
pub fn remove(name: String) -> FnResult<()> {
    var::remove(&name)?;
    Ok(())
}

/// Keeps bytes as they are under one name.
#[plugin_fn]
pub fn keep(bytes: Vec<u8>) -> FnResult<()> {
    var::set("bytes", bytes)?;
    Ok(())
}

/// Counts its calls, in a variable that is a number.
#[plugin_fn]
pub fn count() -> FnResult<String> {
    let calls = var::get::<i64>("calls")?.unwrap_or(0) + 1;
    var::set("calls", calls)?;
    Ok(calls.to_string())
}

#[derive(serde::Deserialize)]
struct Many {
    names: u32,
    bytes: usize,
}

/// Keeps many variables of so many bytes each, and says how many of them it finds again, whole.
#[plugin_fn]
pub fn fill(Json(many): Json<Many>) -> FnResult<String> {
    for number in 0..many.names {
        var::set(format!("var {number}"), vec![b'a' + (number % 26) as u8; many.bytes])?;
    }
    let mut found = 0;
    for number in 0..many.names {
        let value = var::get::<Vec<u8>>(format!("var {number}"))?.unwrap_or_default();
        found += u32::from(value == vec![b'a' + (number % 26) as u8; many.bytes]);
    }
    Ok(found.to_string())
}

/// Sets, reads, replaces and removes one variable in one call.
#[plugin_fn]
pub fn changes(text: String) -> FnResult<String> {
    let mut told = Vec::new();
    for value in [text.as_str(), "", "second"] {
        var::set("changing", value)?;
        told.push(var::get::<String>("changing")?.unwrap_or_else(|| "nothing".into()));
    }
    var::remove("changing")?;
    told.push(var::get::<String>("changing")?.unwrap_or_else(|| "nothing".into()));
    Ok(told.join("|"))
}
