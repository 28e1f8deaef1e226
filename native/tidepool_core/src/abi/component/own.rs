//! Interfaces of `wasi:` that are drafts: what is configured, and lines of a log, which are here, and `keyvalue`.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};

use super::counted::Counted;
use super::define::{Define, Line, Text};
use super::keyvalue;
use crate::abi::access;
use crate::abi::memory::copied_of;
use crate::abi::slots::State;
use crate::base::console::{MAX_LINE_BYTES, Stream};

/// What defines this interface, in any of its drafts, or as what the host adds to components of actors; `None` when it is none of these.
pub(super) fn interface(name: &str) -> Option<Define> {
    if access::is_own(name) {
        return Some(access::define);
    }
    match name.split_once('@').map_or(name, |(name, _version)| name) {
        "wasi:config/store" | "wasi:config/runtime" => Some(config),
        "wasi:logging/logging" => Some(logging),
        _ => keyvalue::interface(name),
    }
}

/// Why a text can't be had: this host has no such reason.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum NotHad {
    #[component(name = "upstream")]
    #[expect(dead_code, reason = "the interface has it")]
    Upstream(String),
    #[component(name = "io")]
    #[expect(dead_code, reason = "the interface has it")]
    Io(String),
}

fn config(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get", |store: StoreContextMut<'_, State>, (key,): (Text,)| {
        let value = store.data().function.config.get(&*key).map(|value| value.to_string());
        Ok((Ok::<_, NotHad>(value),))
    })?;
    linker.func_wrap("get-all", |mut store: StoreContextMut<'_, State>, (): ()| {
        let config = Arc::clone(&store.data().function.config);
        let (mut share, bytes) = (None, config.iter().map(|(key, value)| key.len() + value.len()).sum());
        store.data_mut().hold_on_host(&mut share, bytes)?;
        let mut all: Vec<(String, String)> =
            config.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        all.sort_unstable();
        Ok((Ok::<_, NotHad>(Counted::new(all, share)),))
    })
}

/// How much a line matters.
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests make them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl Level {
    fn stream(self) -> Stream {
        match self {
            Level::Trace | Level::Debug | Level::Info => Stream::Stdout,
            Level::Warn | Level::Error | Level::Critical => Stream::Stderr,
        }
    }
}

/// What of a text fits into a line, and a little more.
fn begun(mut text: String) -> String {
    let end = (0..=MAX_LINE_BYTES.saturating_add(1)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.truncate(end);
    text.shrink_to_fit();
    text
}

/// A line of the function's console, within its budget of lines: from `warn` on as of its standard error, which is logged as a
/// warning.
fn logging(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        "log",
        |mut store: StoreContextMut<'_, State>, (level, Line(context), Line(message)): (Level, Line, Line)| {
            Box::new(async move {
                let bytes = context.len().saturating_add(message.len());
                // No more of a line is kept, whatever there is to look at.
                let [context, message] = [context, message].map(begun);
                let line = if context.is_empty() { message } else { [context, message].join(": ") };
                store.data_mut().print(level.stream(), line.as_bytes());
                // What was printed is kept as far as a line is. It is not to be there for as long as the guest waits for its turn.
                drop(line);
                copied_of(&mut store, bytes).await;
                Ok(())
            })
        },
    )
}
