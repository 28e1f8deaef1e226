//! The input that is being executed, in a file that outlives the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Execution and length, ahead of the bytes.
const HEAD_BYTES: usize = 16;

/// The file. Nothing is flushed to the disk: it has to survive the process, not the machine.
pub struct Kept(File);

impl Kept {
    /// A new file at `path`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path).map(Kept)
    }

    /// Notes that `input` is about to be executed, as the `execution`-th.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn note(&self, execution: u64, input: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + input.len());
        bytes.extend_from_slice(&execution.to_le_bytes());
        bytes.extend_from_slice(&(input.len() as u64).to_le_bytes());
        bytes.extend_from_slice(input);
        self.0.write_all_at(&bytes, 0)
    }
}

/// What was noted last in the file at `path`: which execution, and its input. `None` before the first.
#[must_use]
pub fn last(path: &Path) -> Option<(u64, Vec<u8>)> {
    let bytes = std::fs::read(path).ok()?;
    let (execution, rest) = bytes.split_first_chunk()?;
    let (len, input) = rest.split_first_chunk()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    Some((u64::from_le_bytes(*execution), input.get(..len)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_input_is_read_back_though_a_longer_one_was_there_before() {
        let path = std::env::temp_dir().join(format!("tidepool-fuzz-keep-{}", std::process::id()));
        let kept = Kept::create(&path).unwrap();
        assert_eq!(last(&path), None);
        kept.note(1, b"longer").unwrap();
        kept.note(2, b"short").unwrap();
        assert_eq!(last(&path), Some((2, b"short".to_vec())));
        std::fs::remove_file(&path).unwrap();
    }
}
