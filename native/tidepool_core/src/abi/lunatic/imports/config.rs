//! Configurations of processes: the imports of `lunatic::process` and `lunatic::wasi` that are about them.

use wasmtime::{Caller, Linker};

use crate::abi::lunatic::support::{guest, handle, no_handle, program_full, take, text, trap};
use crate::abi::slots::State;
use crate::process::config::{Config, World};

const MODULE: &str = "lunatic::process";
/// What a handle is of.
const CONFIG: &str = "configuration";
const WASI: &str = "lunatic::wasi";
/// `create_config` when the process may not.
const NOT_PERMITTED: i64 = -1;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "create_config", create_config)?;
    linker.func_wrap(MODULE, "drop_config", drop_config)?;
    linker.func_wrap(MODULE, "config_set_max_memory", |caller: Caller<'_, State>, config: u64, bytes: u64| {
        with(caller, config, |config| config.max_memory = bytes)
    })?;
    linker.func_wrap(MODULE, "config_get_max_memory", |caller: Caller<'_, State>, config: u64| {
        with(caller, config, |config| config.max_memory)
    })?;
    linker.func_wrap(MODULE, "config_set_max_fuel", |caller: Caller<'_, State>, config: u64, units: u64| {
        // 0 is no limit.
        with(caller, config, |config| config.max_fuel = Some(units).filter(|units| *units > 0))
    })?;
    linker.func_wrap(MODULE, "config_get_max_fuel", |caller: Caller<'_, State>, config: u64| {
        with(caller, config, |config| config.max_fuel.unwrap_or(0))
    })?;
    flag(linker, "can_compile_modules", |config| &mut config.may_compile_modules)?;
    flag(linker, "can_create_configs", |config| &mut config.may_create_configs)?;
    flag(linker, "can_spawn_processes", |config| &mut config.may_spawn)?;
    linker.func_wrap(WASI, "config_add_environment_variable", add_env)?;
    linker.func_wrap(WASI, "config_add_command_line_argument", |caller: Caller<'_, State>, config, ptr, len| {
        add_text(caller, config, ptr, len, |world| &mut world.args)
    })?;
    linker.func_wrap(WASI, "config_preopen_dir", |caller: Caller<'_, State>, config, ptr, len| {
        add_text(caller, config, ptr, len, |world| &mut world.preopens)
    })?;
    Ok(())
}

/// Offers `config_NAME` and `config_set_NAME`.
fn flag(linker: &mut Linker<State>, name: &str, flag: fn(&mut Config) -> &mut bool) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, &format!("config_{name}"), move |caller: Caller<'_, State>, config: u64| {
        with(caller, config, |config| i32::from(*flag(config)))
    })?;
    let set = format!("config_set_{name}");
    linker.func_wrap(MODULE, &set, move |caller: Caller<'_, State>, config: u64, value: i32| {
        with(caller, config, |config| *flag(config) = value != 0)
    })?;
    Ok(())
}

fn create_config(mut caller: Caller<'_, State>) -> wasmtime::Result<i64> {
    if !guest(&mut caller)?.config.may_create_configs {
        return Ok(NOT_PERMITTED);
    }
    let config = handle(&mut caller, |data| &mut data.configs, Config::default())?;
    Ok(config.cast_signed())
}

fn drop_config(mut caller: Caller<'_, State>, config: u64) -> wasmtime::Result<()> {
    take(&mut caller, |data| &mut data.configs, CONFIG, config).map(drop)
}

fn with<R>(mut caller: Caller<'_, State>, config: u64, with: impl FnOnce(&mut Config) -> R) -> wasmtime::Result<R> {
    match caller.data_mut().abi.lunatic.data().configs.change(config, with) {
        Some(result) => Ok(result),
        None => Err(no_handle(&mut caller, CONFIG, config)),
    }
}

fn add_env(
    mut caller: Caller<'_, State>,
    config: u64,
    key: i32,
    key_len: i32,
    value: i32,
    value_len: i32,
) -> wasmtime::Result<()> {
    let (key, value) = (text(&mut caller, key, key_len)?, text(&mut caller, value, value_len)?);
    add(&mut caller, config, key.len() + value.len(), |world| world.env.push((key, value)))
}

fn add_text(
    mut caller: Caller<'_, State>,
    config: u64,
    ptr: i32,
    len: i32,
    list: fn(&mut World) -> &mut Vec<String>,
) -> wasmtime::Result<()> {
    let added = text(&mut caller, ptr, len)?;
    add(&mut caller, config, added.len(), |world| list(world).push(added))
}

/// Adds a text of so many bytes.
fn add(
    caller: &mut Caller<'_, State>,
    config: u64,
    bytes: usize,
    add: impl FnOnce(&mut World),
) -> wasmtime::Result<()> {
    let data = caller.data_mut().abi.lunatic.data();
    let Some(found) = data.configs.get(config) else { return Err(no_handle(caller, CONFIG, config)) };
    let Some(after) = found.with_text(bytes) else {
        return Err(trap(caller, "a configuration has more environment, arguments and folders than it may have"));
    };
    let more = after - found.text_bytes();
    if !data.hold_more(more) {
        return Err(program_full(caller));
    }
    let _added = data.configs.change(config, |found| found.add(after, add));
    data.recount();
    Ok(())
}
