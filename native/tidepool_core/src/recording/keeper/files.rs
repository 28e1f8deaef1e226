//! Recordings that are on the disk, whatever is written meanwhile: listed, read and deleted.

use std::io;
use std::path::{Path, PathBuf};

use super::segment::{self, Listed};

/// By so much a file may be younger than its time says, in ms: that is of the system's last tick.
const TICK_MS: u64 = 20;

/// The files of a node's recordings.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn of(folder: &Path) -> Self {
        Files { folder: folder.to_owned() }
    }

    /// The newest recordings, `most` of them at most: all, or those of one function, or with a star at the end of all whose names begin
    /// like that. Reads the files of these functions: some ms for each 10 MiB.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn list(&self, functions: Option<&str>, most: usize) -> io::Result<Vec<Listed>> {
        let mut newest: Vec<Listed> = Vec::new();
        let Some(last) = most.checked_sub(1) else { return Ok(newest) };
        for (path, changed_ms) in segment::changed(&self.folder)? {
            // What a file has is as old as its last change at least.
            let latest = changed_ms.saturating_add(TICK_MS);
            if newest.get(last).is_some_and(|one| at_ms(one) > latest) {
                break;
            }
            newest.extend(listed(&path, functions, most)?.into_iter().rev());
            newest.sort_by_key(|one| std::cmp::Reverse(at_ms(one)));
            newest.truncate(most);
        }
        Ok(newest)
    }

    /// A recording as a file of its own; `None` when there is none of this name.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        segment::read(&self.folder, id)
    }

    /// Deletes a recording; `false` when there is none of this name.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn delete(&self, id: &str) -> io::Result<bool> {
        segment::delete(&self.folder, id)
    }
}

/// The last recordings of these functions in a file; none of one that went meanwhile.
fn listed(path: &Path, functions: Option<&str>, most: usize) -> io::Result<Vec<Listed>> {
    let listed = match segment::name(path) {
        // A namespace with few recordings is not to have those of all others read.
        Ok(Some(name)) if !is_of(functions, &name) => return Ok(Vec::new()),
        Ok(_) => segment::list(path, most),
        Err(error) => Err(error),
    };
    match listed {
        Ok(mut listed) => {
            listed.retain(|one| match &one.head {
                Some(head) => is_of(functions, &head.name),
                None => functions.is_none(),
            });
            Ok(listed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Is a function of this name one of those?
fn is_of(functions: Option<&str>, name: &str) -> bool {
    match functions.map(|functions| functions.strip_suffix('*').ok_or(functions)) {
        None => true,
        Some(Ok(beginning)) => name.starts_with(beginning),
        Some(Err(function)) => name == function,
    }
}

/// When the call of one ended; of one that can't be read 0.
fn at_ms(one: &Listed) -> u64 {
    one.summary.as_ref().map_or(0, |summary| summary.at_ms)
}
