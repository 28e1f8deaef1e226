//! `lunatic::metrics`: figures that a program reports.

use wasmtime::{Caller, Linker};

use crate::abi::lunatic::support::{guest, text};
use crate::abi::slots::State;
use crate::process::metrics::Figure;

const MODULE: &str = "lunatic::metrics";

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "counter", |caller: Caller<'_, State>, name: i32, len: i32, value: u64| {
        count(caller, name, len, |counted| *counted = value)
    })?;
    linker.func_wrap(MODULE, "increment_counter", |caller: Caller<'_, State>, name: i32, len: i32| {
        count(caller, name, len, |counted| *counted = counted.saturating_add(1))
    })?;
    linker.func_wrap(MODULE, "gauge", |caller: Caller<'_, State>, name: i32, len: i32, value: f64| {
        gauge(caller, name, len, |gauge| *gauge = value)
    })?;
    linker.func_wrap(MODULE, "increment_gauge", |caller: Caller<'_, State>, name: i32, len: i32, by: f64| {
        gauge(caller, name, len, |gauge| *gauge += by)
    })?;
    linker.func_wrap(MODULE, "decrement_gauge", |caller: Caller<'_, State>, name: i32, len: i32, by: f64| {
        gauge(caller, name, len, |gauge| *gauge -= by)
    })?;
    linker.func_wrap(MODULE, "histogram", |caller: Caller<'_, State>, name: i32, len: i32, value: f64| {
        change(caller, name, len, Figure::Histogram(0, 0.0), |figure| {
            if let Figure::Histogram(values, sum) = figure {
                *values = values.saturating_add(1);
                *sum += value;
            }
        })
    })?;
    Ok(())
}

fn count(caller: Caller<'_, State>, name: i32, len: i32, by: impl FnOnce(&mut u64)) -> wasmtime::Result<()> {
    change(caller, name, len, Figure::Counter(0), |figure| {
        if let Figure::Counter(counted) = figure {
            by(counted);
        }
    })
}

fn gauge(caller: Caller<'_, State>, name: i32, len: i32, by: impl FnOnce(&mut f64)) -> wasmtime::Result<()> {
    change(caller, name, len, Figure::Gauge(0.0), |figure| {
        if let Figure::Gauge(gauge) = figure {
            by(gauge);
        }
    })
}

fn change(
    mut caller: Caller<'_, State>,
    name: i32,
    len: i32,
    new: Figure,
    by: impl FnOnce(&mut Figure),
) -> wasmtime::Result<()> {
    let guest = guest(&mut caller)?;
    let name = text(&mut caller, name, len)?;
    guest.program.figures.change(name, new, by);
    Ok(())
}
