//! What a program may have of files in memory: how many, and their bytes, which count in the program's account, too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::FileError;
use crate::base::config::FilesConfig;
use crate::process::bounds::account::{Account, Share};

/// What there may be, and what there is.
pub(super) struct Quota {
    most: FilesConfig,
    used: Mutex<Used>,
}

struct Used {
    files: usize,
    bytes: usize,
    share: Share,
}

impl Quota {
    pub(super) fn new(most: FilesConfig, account: &Arc<Account>) -> Arc<Self> {
        Arc::new(Quota { most, used: Mutex::new(Used { files: 0, bytes: 0, share: Share::new(account, 0) }) })
    }

    /// Most bytes of one file.
    pub(super) fn most_bytes(&self) -> u64 {
        u64::try_from(self.most.max_program_bytes).unwrap_or(u64::MAX)
    }

    /// One file more, whose name and bookkeeping take so many bytes.
    ///
    /// # Errors
    /// [`FileError::NoSpace`], and then nothing is changed.
    pub(super) fn add_file(&self, bytes: usize) -> Result<(), FileError> {
        let mut used = self.used();
        if used.files >= self.most.max_program_files {
            return Err(FileError::NoSpace);
        }
        self.take(&mut used, bytes)?;
        used.files += 1;
        Ok(())
    }

    pub(super) fn remove_file(&self, bytes: usize) {
        let mut used = self.used();
        used.files = used.files.saturating_sub(1);
        give_back(&mut used, bytes);
    }

    /// So many bytes more.
    ///
    /// # Errors
    /// [`FileError::NoSpace`], and then nothing is changed.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), FileError> {
        self.take(&mut self.used(), bytes)
    }

    pub(super) fn shrink(&self, bytes: usize) {
        give_back(&mut self.used(), bytes);
    }

    fn take(&self, used: &mut Used, bytes: usize) -> Result<(), FileError> {
        let all = used.bytes.saturating_add(bytes);
        if all > self.most.max_program_bytes || !used.share.hold(all) {
            return Err(FileError::NoSpace);
        }
        used.bytes = all;
        Ok(())
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // Nothing panics while it holds the lock.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn give_back(used: &mut Used, bytes: usize) {
    used.bytes = used.bytes.saturating_sub(bytes);
    // Less always fits.
    let _less = used.share.hold(used.bytes);
}
