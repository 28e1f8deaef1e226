//! Makes a component of a module: `encoder MODULE OUT`, or `encoder MODULE OUT WIT WORLD [adapt]`.
//!
//! Alone, a program of WASI preview 1 becomes a command of WASI 0.2. Otherwise `WIT` is a folder of WIT, and `WORLD` the world in
//! it that the module is for: `wasi:http/proxy@0.2.12`; with `adapt`, it may import WASI preview 1 as well. What answers those
//! imports is wasmtime's adapter, which becomes a part of the component.

use std::path::Path;

use anyhow::{bail, Context, Result};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{embed_component_metadata, ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (module, out, world, adapter) = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [module, out] => (*module, *out, None, Some(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)),
        [module, out, wit, world] => (*module, *out, Some((*wit, *world)), None),
        [module, out, wit, world, "adapt"] => {
            (*module, *out, Some((*wit, *world)), Some(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER))
        }
        _ => bail!("encoder MODULE OUT [WIT WORLD [adapt]]"),
    };
    let mut bytes = std::fs::read(module).with_context(|| format!("{module} can't be read"))?;
    if let Some((wit, world)) = world {
        let mut resolve = Resolve::default();
        let (package, _files) = resolve.push_path(Path::new(wit)).with_context(|| format!("the WIT in {wit}"))?;
        let world = resolve.select_world(&[package], Some(world))?;
        embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
    }
    let mut encoder = ComponentEncoder::default().validate(true).module(&bytes)?;
    if let Some(adapter) = adapter {
        encoder = encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?;
    }
    let component = encoder.encode().context("the module is none of that world")?;
    std::fs::write(out, component).with_context(|| format!("{out} can't be written"))
}
