//! Functions of `wasi:io/streams` that wait for nothing, and are asked of a file of the host's: there they wait. To programs of any
//! system a file is always ready, however long its disk takes.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, LinkerInstance, Lower, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::io::streams::{Host, StreamError};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, StreamResult};

use super::streams::is_of_host;
use crate::abi::component::define::shadowing;
use crate::abi::component::table::table_of;
use crate::abi::slots::State;

type Input = Resource<DynInputStream>;
type Output = Resource<DynOutputStream>;

/// Defines them in the place of those that there are.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    shadowing(linker, |linker| define(&mut linker.instance("wasi:io/streams@0.2.12")?))
}

/// Defines one: its name, and what it does with the guest's table and what it is given.
macro_rules! function {
    ($streams:ident, $name:literal, |$table:ident, $given:tt: $Given:ty| $body:expr) => {
        $streams.func_wrap_async($name, |mut store: StoreContextMut<'_, State>, $given: $Given| {
            Box::new(async move {
                let $table = table_of(&mut store);
                let outcome = $body.await;
                answered($table, outcome)
            })
        })?
    };
}

fn define(streams: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    function!(streams, "[method]input-stream.read", |table, (input, length): (Input, u64)| async {
        read(table, &input, size(length)).await.map(Vec::from)
    });
    function!(streams, "[method]input-stream.skip", |table, (input, length): (Input, u64)| async {
        let input = table.get_mut(&input)?;
        let skipped = match input.skip(size(length)) {
            Err(error) if is_of_host(&error) => input.blocking_skip(size(length)).await,
            skipped => skipped,
        };
        skipped.map(|count| count as u64)
    });
    function!(streams, "[method]output-stream.write", |table, (output, bytes): (Output, Vec<u8>)| async {
        write(table, &output, bytes.into()).await
    });
    function!(streams, "[method]output-stream.write-zeroes", |table, (output, length): (Output, u64)| async {
        let output = table.get_mut(&output)?;
        rest(output.write_zeroes(size(length)), output).await
    });
    function!(streams, "[method]output-stream.splice", |table, (output, input, length): (Output, Input, u64)| async {
        let room = table.get_mut(&output)?.check_write()?.min(size(length));
        if room == 0 {
            return Ok(0);
        }
        let bytes = read(table, &input, room).await?;
        let count = bytes.len() as u64;
        write(table, &output, bytes).await?;
        Ok(count)
    });
    Ok(())
}

fn size(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

async fn read(table: &mut ResourceTable, input: &Input, length: usize) -> StreamResult<Bytes> {
    let input = table.get_mut(input)?;
    match input.read(length) {
        Err(error) if is_of_host(&error) => input.blocking_read(length).await,
        read => read,
    }
}

async fn write(table: &mut ResourceTable, output: &Output, bytes: Bytes) -> StreamResult<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let output = table.get_mut(output)?;
    rest(output.write(bytes), output).await
}

/// Has a file of the host's write what it has kept for that.
async fn rest(written: StreamResult<()>, output: &mut DynOutputStream) -> StreamResult<()> {
    match written {
        Err(error) if is_of_host(&error) => output.blocking_write_and_flush(Bytes::new()).await,
        written => written,
    }
}

/// What wasmtime is answered.
fn answered<T: ComponentType + Lower>(
    table: &mut ResourceTable,
    outcome: StreamResult<T>,
) -> wasmtime::Result<(Result<T, StreamError>,)> {
    Ok((match outcome {
        Ok(result) => Ok(result),
        Err(error) => Err(table.convert_stream_error(error)?),
    },))
}
