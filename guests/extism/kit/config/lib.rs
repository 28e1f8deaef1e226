//! What is configured: texts by name.

use std::collections::BTreeMap;

use extism_pdk::*;

#[plugin_fn]
pub fn get(name: String) -> FnResult<String> {
    Ok(config::get(&name)?.unwrap_or_else(|| "nothing".into()))
}

/// What there is of several names, one a line.
#[plugin_fn]
pub fn several(names: String) -> FnResult<Json<BTreeMap<String, Option<String>>>> {
    let mut told = BTreeMap::new();
    for name in names.lines() {
        told.insert(name.to_owned(), config::get(name)?);
    }
    Ok(Json(told))
}

/// How many bytes there are, by the block that has them, which it frees.
#[plugin_fn]
pub fn length(name: String) -> FnResult<String> {
    let block = match config::get_memory(&name)? {
        Some(block) => block,
        None => return Ok("none".into()),
    };
    let (length, offset) = (block.len(), block.offset());
    block.free();
    Ok(format!("{length}, and {} when it is free", unsafe { extism::length(offset) }))
}
