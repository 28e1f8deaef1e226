//! The compiler of tests: the library's own, which keeps the code of what takes long. Tests start hundreds of nodes, each of which has the
//! same guests compiled once more: that is half of what they would take.
//!
//! Code is kept beside this program, for as long as that is the same. What is refused, or is ended before, is compiled each time.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use tidepool_core::CompileAsked as Asked;

/// Smaller modules, which are what most tests of compiling make, take less than what it takes to start this.
const LEAST_BYTES: usize = 16 << 10;
/// What an answer with code begins with.
const IS_CODE: u8 = 0;

fn main() -> ExitCode {
    match tidepool_core::serve_compiler(answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(asked: &Asked, compile: &dyn Fn() -> Vec<u8>) -> Vec<u8> {
    let Some(place) = (asked.module.len() >= LEAST_BYTES).then(|| place(asked)).flatten() else { return compile() };
    if let Ok(kept) = fs::read(&place) {
        return kept;
    }
    let answer = compile();
    if answer.first() == Some(&IS_CODE) {
        // Whole or not there: others read it meanwhile. One that can't be kept is compiled again. Each step of `bin/test` counts its
        // processes for itself.
        let since = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let written = place.with_extension(format!("{}-{since}", std::process::id()));
        let _ = fs::write(&written, &answer).and_then(|()| fs::rename(&written, &place));
    }
    answer
}

/// The file for this answer of this program.
fn place(asked: &Asked) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let about = fs::metadata(&program).ok()?;
    let built = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let folders = program.with_file_name("kept");
    let folder = folders.join(format!("{built}-{}", about.len()));
    if fs::create_dir_all(&folders).is_ok() && fs::create_dir(&folder).is_ok() {
        // This is the first of a new program: what others have kept is of no use any more.
        for other in fs::read_dir(&folders).ok()?.flatten().filter(|other| other.path() != folder) {
            let _ = fs::remove_dir_all(other.path());
        }
    }
    let name = blake3::Hasher::new().update(&asked.settings).update(&asked.module).finalize();
    Some(folder.join(name.to_hex().as_str()))
}
