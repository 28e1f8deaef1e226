//! Compiled code in a file in memory, which is written once and then mapped as it is.
//!
//! The engine maps the data that instances begin with from the same file. So no data are in memory a second time, and a component has one
//! open file, however many modules are defined in it: of code that is mapped from no file each module has an image of its own, in a file of
//! its own.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// As which it is listed among a process's open files.
const NAME: &CStr = c"wasm-code";
/// `MFD_NOEXEC_SEAL`: it is no program that can be started, and never will be.
const NO_PROGRAM: libc::c_uint = 8;

/// A file in memory that is being written.
pub(super) struct CodeFile(File);

impl CodeFile {
    /// An empty one.
    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        let file = memfd(flags | NO_PROGRAM).or_else(|error| match error.raw_os_error() {
            // Kernels before 6.3 don't know the flag.
            Some(libc::EINVAL) => memfd(flags),
            _ => Err(error),
        });
        file.map(CodeFile)
    }

    /// One with these bytes.
    pub(super) fn of(bytes: &[u8]) -> io::Result<Self> {
        let mut file = CodeFile::new()?;
        file.write(bytes)?;
        Ok(file)
    }

    /// Writes what follows.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The file, as it is from now on: nobody can write it any more.
    ///
    /// # Errors
    /// When the system refuses that.
    pub(super) fn sealed(self) -> io::Result<File> {
        let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
        // SAFETY: the descriptor is the file's, which is open.
        let failed = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_ADD_SEALS, seals) };
        if failed == 0 { Ok(self.0) } else { Err(io::Error::last_os_error()) }
    }
}

fn memfd(flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: the name ends with a zero, and is read only.
    let descriptor = unsafe { libc::memfd_create(NAME.as_ptr(), flags) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and is nobody else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_never_written_again() {
        let mut file = CodeFile::of(b"code").unwrap().sealed().unwrap();
        assert!(file.write_all(b"more").is_err() && file.set_len(1).is_err() && file.set_len(100).is_err());
        assert_eq!(file.metadata().unwrap().len(), 4);
    }
}
