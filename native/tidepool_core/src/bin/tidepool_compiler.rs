//! Compiles one module for a node: see the `compiler` room of `tidepool_core`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match tidepool_core::serve_compiler(|_asked, compile| compile()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
