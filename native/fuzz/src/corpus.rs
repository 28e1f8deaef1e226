//! Inputs in files: those to begin with, those that failed once, and those that fail now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::behaviour::hash;

/// This crate's folder: cargo names it to what it runs. What is run without it was built in one, for which a CI machine has many.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The files of `corpus/TARGET`, by name.
#[must_use]
pub fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    files(&folder().join("corpus").join(target))
}

/// The files of `regressions/TARGET`, by name.
#[must_use]
pub fn regressions(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    files(&folder().join("regressions").join(target))
}

/// The guests that `bin/guests` built, smallest first, up to `most_bytes` each; none where they were not.
#[must_use]
pub fn guests(most_bytes: usize) -> Vec<Vec<u8>> {
    let languages = fs::read_dir(folder().join("../../guests/build")).into_iter().flatten().flatten();
    let mut guests: Vec<Vec<u8>> = languages
        .flat_map(|language| files(&language.path()))
        .map(|(_, wasm)| wasm)
        .filter(|wasm| wasm.len() <= most_bytes)
        .collect();
    guests.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    guests
}

/// Writes a failing input to `findings/TARGET`, and says where.
///
/// # Errors
/// When it can't be written.
pub fn save(target: &str, input: &[u8]) -> io::Result<PathBuf> {
    let folder = folder().join("findings").join(target);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{:016x}", hash(input)));
    fs::write(&path, input)?;
    Ok(path)
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes))).collect()
}
