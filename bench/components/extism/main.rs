//! Extism's own runtime with one plug-in: what `bench/run components` holds Tidepool's calls of it against.
//!
//! `extism_peer PLUGIN` reads lines `BYTES CALLS` and calls `echo` so often with so many bytes. It answers with the nanoseconds of a
//! call, which are those of all of them by their number, or with a third word, `each`, with those of each, separated by spaces. It ends
//! with its input.

use std::io::BufRead;
use std::time::Instant;

use extism::{Error, Manifest, Plugin, Wasm};

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::msg("extism_peer PLUGIN"))?;
    // As its documents have it: a plug-in that is called again and again is made once.
    let mut plugin = Plugin::new(Manifest::new([Wasm::file(path)]), [tide()], true)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [bytes, calls, each @ ..] = words.as_slice() else { return Err(Error::msg("BYTES CALLS [each]")) };
        let (input, calls) = (vec![b'x'; bytes.parse()?], calls.parse()?);
        if each.is_empty() {
            let began = Instant::now();
            for _ in 0..calls {
                echo(&mut plugin, &input)?;
            }
            println!("{}", began.elapsed().as_nanos() / calls);
        } else {
            for _ in 0..calls {
                let began = Instant::now();
                echo(&mut plugin, &input)?;
                print!("{} ", began.elapsed().as_nanos());
            }
            println!();
        }
    }
    Ok(())
}

fn echo(plugin: &mut Plugin, input: &[u8]) -> Result<(), Error> {
    let output: &[u8] = plugin.call("echo", input)?;
    if output.len() == input.len() { Ok(()) } else { Err(Error::msg("the plug-in has not echoed its input")) }
}

/// The function of the host's that the plug-in imports.
fn tide() -> extism::Function {
    extism::Function::new(
        "tide",
        [extism::PTR],
        [extism::PTR],
        extism::UserData::new(()),
        |_plugin, inputs, outputs, _data| {
            outputs.clone_from_slice(inputs);
            Ok(())
        },
    )
}
