//! Extism's own runtime with one plug-in, told what to call: what a test holds Tidepool's answers against.
//!
//! `extism_calls PLUGIN` reads messages, each behind its length in four bytes, the highest first, and ends with its input. `n` and
//! texts, each behind a zero byte, by turns names and values, make the plug-in anew with these for its configuration. `c`, the name of
//! an export, a zero byte and bytes call it: the answer is a message of `o` and the output, or of `e` and the error's text. `l` asks for
//! the lines that plug-ins have printed since the last `l`: each has its level before it, and ends with a line feed.
//!
//! Its host functions are those of `Tidepool.Plugins` in the tests. Plug-ins may ask servers on 127.0.0.1.

mod host;

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use extism::{Error, Manifest, Plugin, PluginBuilder, Wasm};

/// Lines that plug-ins print, as the runtime tells of them, begin with this behind a time and a level.
const PRINTED: &str = " extism::pdk: ";

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::msg("extism_calls PLUGIN"))?;
    let lines = lines()?;
    let (mut asked, mut answers) = (io::stdin().lock(), io::stdout().lock());
    let mut plugin = made(&path, &[])?;
    while let Some(message) = read(&mut asked)? {
        match message.split_first() {
            Some((b'n', config)) => plugin = made(&path, config)?,
            Some((b'c', call)) => {
                let at = call.iter().position(|&byte| byte == 0).ok_or_else(|| Error::msg("a call without input"))?;
                let export = std::str::from_utf8(&call[..at])?;
                match plugin.call::<&[u8], &[u8]>(export, &call[at + 1..]) {
                    Ok(output) => write(&mut answers, b'o', output)?,
                    Err(error) => write(&mut answers, b'e', error.root_cause().to_string().as_bytes())?,
                }
            }
            Some((b'l', _)) => {
                let printed = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
                write(&mut answers, b'l', printed.as_bytes())?;
            }
            _ => return Err(Error::msg("a message is n, c or l")),
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

fn write(to: &mut impl Write, kind: u8, answer: &[u8]) -> Result<(), Error> {
    to.write_all(&u32::try_from(answer.len() + 1)?.to_be_bytes())?;
    to.write_all(&[kind])?;
    to.write_all(answer)?;
    Ok(to.flush()?)
}

fn made(path: &str, config: &[u8]) -> Result<Plugin, Error> {
    let texts: Vec<&str> = std::str::from_utf8(config)?.split('\0').skip(1).collect();
    let pairs = texts.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
    let manifest = Manifest::new([Wasm::file(path)]).with_config(pairs).with_allowed_host("127.0.0.1");
    PluginBuilder::new(manifest)
        .with_wasi(true)
        .with_functions(host::functions())
        .with_http_response_headers(true)
        .build()
}

/// Where the lines of plug-ins go, from the level on from which Tidepool prints them.
fn lines() -> Result<Arc<Mutex<String>>, Error> {
    let lines = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&lines);
    extism::set_log_callback(
        move |line| {
            let Some((before, text)) = line.split_once(PRINTED) else { return };
            let level = before.rsplit(' ').next().unwrap_or_default().to_lowercase();
            let text = text.trim_end_matches('\n');
            let text = text.rsplit_once(" plugin=").map_or(text, |(text, _id)| text);
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_str(&format!("{level}: {text}\n"));
        },
        "extism=info",
    )?;
    Ok(lines)
}
