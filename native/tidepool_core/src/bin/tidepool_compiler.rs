//! Compiles one module for a node: see `tidepool_core::compiler`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match tidepool_core::compiler::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
