//! Extism's own runtime with one plug-in, told what to call: what a test holds Tidepool's answers against.
//!
//! `extism_calls PLUGIN` reads messages, each behind its length in four bytes, the highest first, and ends with its input. `n` and
//! texts, each behind a zero byte, by turns names and values, make the plug-in anew with these for its configuration. `c`, the name of
//! an export, a zero byte and bytes call it: the answer is a message of `o` and the output, or of `e` and the error's text. Its host
//! function `tide` tells of a harbour how long its name is, and fails where that begins with `dry`.

use std::io::{self, Read, Write};

use extism::{Error, Manifest, Plugin, Wasm};

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::msg("extism_calls PLUGIN"))?;
    let (mut asked, mut answers) = (io::stdin().lock(), io::stdout().lock());
    let mut plugin = made(&path, &[])?;
    while let Some(message) = read(&mut asked)? {
        match message.split_first() {
            Some((b'n', config)) => plugin = made(&path, config)?,
            Some((b'c', call)) => {
                let at = call.iter().position(|&byte| byte == 0).ok_or_else(|| Error::msg("a call without input"))?;
                let export = std::str::from_utf8(&call[..at])?;
                let (kind, answer) = match plugin.call::<&[u8], &[u8]>(export, &call[at + 1..]) {
                    Ok(output) => (b'o', output.to_vec()),
                    Err(error) => (b'e', error.root_cause().to_string().into_bytes()),
                };
                answers.write_all(&u32::try_from(answer.len() + 1)?.to_be_bytes())?;
                answers.write_all(&[kind])?;
                answers.write_all(&answer)?;
                answers.flush()?;
            }
            _ => return Err(Error::msg("a message is n or c")),
        }
    }
    Ok(())
}

/// The next message; `None` at the end.
fn read(from: &mut impl Read) -> Result<Option<Vec<u8>>, Error> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut message = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn made(path: &str, config: &[u8]) -> Result<Plugin, Error> {
    let texts: Vec<&str> = std::str::from_utf8(config)?.split('\0').skip(1).collect();
    let pairs = texts.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
    let manifest = Manifest::new([Wasm::file(path)]).with_config(pairs);
    Plugin::new(manifest, [tide()], true)
}

fn tide() -> extism::Function {
    extism::Function::new(
        "tide",
        [extism::PTR],
        [extism::PTR],
        extism::UserData::new(()),
        |plugin, inputs, outputs, _data| {
            let harbour: String = plugin.memory_get_val(&inputs[0])?;
            if harbour.starts_with("dry") {
                return Err(Error::msg(format!("the gauge of {harbour} is dry")));
            }
            let told = plugin.memory_new(format!("{harbour} has {} bytes", harbour.len()))?;
            outputs[0] = plugin.memory_to_val(told);
            Ok(())
        },
    )
}
