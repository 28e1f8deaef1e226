//! Hearing of changes: each folder that may have sources is watched by itself, so that what compilers keep beside them
//! costs nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::files::TooManyFiles;
use super::{Files, Globs};

/// Why a project's files could not be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// The globs name too much.
    #[error(transparent)]
    TooMany(#[from] TooManyFiles),
    /// The system watches no more.
    #[error("the system does not watch {path}: {source} (fs.inotify.max_user_watches may be too low)")]
    System {
        /// Which folder.
        path: PathBuf,
        /// What it says.
        source: notify::Error,
    },
}

/// Watches the folders of a project.
#[derive(Debug)]
pub(crate) struct Watcher {
    system: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Begins to watch nothing; `heard` is told of all that happens from then on.
    ///
    /// # Errors
    ///
    /// When the system can't watch.
    pub(crate) fn new(root: &Path, mut heard: impl FnMut(Event) + Send + 'static) -> Result<Self, WatchError> {
        // What could not be heard of is as if all had changed.
        let told = move |event: notify::Result<Event>| heard(event.unwrap_or_else(|_| Event::new(EventKind::Any)));
        let system =
            notify::recommended_watcher(told).map_err(|source| WatchError::System { path: root.to_owned(), source })?;
        Ok(Self { system, watched: BTreeSet::new() })
    }

    /// Looks at the files, and watches the folders that they are in. What is made in a new folder before that is watched
    /// is found by looking again.
    ///
    /// # Errors
    ///
    /// When there are too many files, or folders.
    pub(crate) fn look(&mut self, globs: &Globs, before: &Files) -> Result<Files, WatchError> {
        loop {
            let mut folders = BTreeSet::new();
            let files = Files::look(globs, before, |folder| {
                folders.insert(folder.to_owned());
            })?;
            for gone in self.watched.difference(&folders) {
                // It may have been removed, which ends it, too.
                let _ = self.system.unwatch(gone);
            }
            let new: Vec<PathBuf> = folders.difference(&self.watched).cloned().collect();
            self.watched.retain(|folder| folders.contains(folder));
            if new.is_empty() {
                return Ok(files);
            }
            for folder in new {
                match self.system.watch(&folder, RecursiveMode::NonRecursive) {
                    Ok(()) => {}
                    // It has vanished again.
                    Err(_) if !folder.is_dir() => {}
                    Err(source) => return Err(WatchError::System { path: folder, source }),
                }
                self.watched.insert(folder);
            }
        }
    }

    /// Whether an event may be of a source. Folders that came or went are watched anew from the next look on.
    pub(crate) fn concerns(&mut self, globs: &Globs, event: &Event) -> bool {
        if event.need_rescan() || event.paths.is_empty() {
            self.watched.clear();
            return true;
        }
        let content = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(CreateKind::File)
            | EventKind::Remove(RemoveKind::File)
            | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => true,
            // Looking at the files is no change of them.
            EventKind::Access(_) => return false,
            _ => false,
        };
        let mut concerned = false;
        for path in &event.paths {
            let folder = !content && (self.watched.remove(path) || globs.may_be_in(path));
            concerned |= folder || globs.name(path);
        }
        concerned
    }
}
