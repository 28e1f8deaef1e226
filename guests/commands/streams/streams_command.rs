//! Reads and writes files by those functions of `wasi:io/streams` that don't wait, as C libraries for WASI 0.2 do: `copy FROM TO`,
//! `splice FROM TO`, `tail FROM COUNT`, `zeroes TO COUNT`. Paths are those of the first folder.

use wasi::cli::stdout::get_stdout;
use wasi::filesystem::preopens::get_directories;
use wasi::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasi::io::streams::{InputStream, OutputStream, StreamError};

const PIECE: u64 = 10_000;

include!("../arguments.rs");

/// `run` of `wasi:cli/run`: 0 is success.
#[export_name = "wasi:cli/run@0.2.0#run"]
pub extern "C" fn run() -> i32 {
    let told = told();
    let args: Vec<&str> = told.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["copy", from, to] => copy(&reads(from), &writes(to)),
        ["splice", from, to] => splice(&reads(from), &writes(to)),
        ["tail", from, count] => tail(&reads(from), count.parse().expect("a number")),
        ["zeroes", to, count] => zeroes(&writes(to), count.parse().expect("a number")),
        other => panic!("nothing of {:?}", other),
    };
    let line = match done {
        Ok(said) => format!("ok {}\n", said),
        Err(StreamError::Closed) => "closed\n".into(),
        Err(StreamError::LastOperationFailed(error)) => format!("failed {}\n", error.to_debug_string()),
    };
    get_stdout().blocking_write_and_flush(line.as_bytes()).expect("there is a standard output");
    0
}

fn open(path: &str, how: OpenFlags, flags: DescriptorFlags) -> Descriptor {
    let folders = get_directories();
    let (folder, _name) = folders.first().expect("a folder");
    folder.open_at(PathFlags::empty(), path, how, flags).expect("it can be opened")
}

fn reads(path: &str) -> InputStream {
    open(path, OpenFlags::empty(), DescriptorFlags::READ).read_via_stream(0).expect("it can be read")
}

fn writes(path: &str) -> OutputStream {
    let file = open(path, OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE);
    file.write_via_stream(0).expect("it can be written")
}

/// The next piece; waits as long as there is none.
fn read(input: &InputStream) -> Result<Option<Vec<u8>>, StreamError> {
    let comes = input.subscribe();
    loop {
        match input.read(PIECE) {
            Ok(piece) if piece.is_empty() => comes.block(),
            Ok(piece) => return Ok(Some(piece)),
            Err(StreamError::Closed) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn write(output: &OutputStream, mut piece: &[u8]) -> Result<(), StreamError> {
    while !piece.is_empty() {
        let room = output.check_write()?.min(piece.len() as u64) as usize;
        if room == 0 {
            output.subscribe().block();
            continue;
        }
        output.write(&piece[..room])?;
        output.blocking_flush()?;
        piece = &piece[room..];
    }
    Ok(())
}

fn copy(input: &InputStream, output: &OutputStream) -> Result<String, StreamError> {
    let mut copied = 0;
    while let Some(piece) = read(input)? {
        write(output, &piece)?;
        copied += piece.len() as u64;
    }
    Ok(copied.to_string())
}

fn splice(input: &InputStream, output: &OutputStream) -> Result<String, StreamError> {
    let mut copied = 0;
    loop {
        match output.splice(input, PIECE) {
            // Wasmtime's streams of files do something when they are waited for alone.
            Ok(0) => {
                input.subscribe().block();
                output.subscribe().block();
            }
            Ok(count) => copied += count,
            Err(StreamError::Closed) => return Ok(copied.to_string()),
            Err(error) => return Err(error),
        }
    }
}

/// What comes behind so many bytes.
fn tail(input: &InputStream, mut count: u64) -> Result<String, StreamError> {
    while count > 0 {
        match input.skip(count)? {
            0 => input.subscribe().block(),
            skipped => count -= skipped,
        }
    }
    let mut rest = Vec::new();
    while let Some(piece) = read(input)? {
        rest.extend(piece);
    }
    Ok(String::from_utf8_lossy(&rest).into_owned())
}

fn zeroes(output: &OutputStream, count: u64) -> Result<String, StreamError> {
    output.check_write()?;
    output.write_zeroes(count)?;
    output.blocking_flush()?;
    Ok(count.to_string())
}
