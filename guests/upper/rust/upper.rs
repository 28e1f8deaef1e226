// Upper-cases the ASCII letters of its input. A WASI command: a plain program, no imports by hand.

use std::io::{self, Read, Write};
use std::process::exit;

fn main() -> io::Result<()> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    if text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .eq([b"fail"])
    {
        eprintln!("upper: asked to fail");
        eprintln!("upper: giving up");
        exit(3);
    }
    text.make_ascii_uppercase();
    io::stdout().write_all(&text)
}
