//! What a project's module is made of: the files that its globs name, as they are now.
//!
//! Events only say when to look. Whether to build is told by comparing what the files hold with what they held when the
//! last build began. So a build that writes its sources anew, an editor that saves what it has loaded, and events that
//! come twice or late make no build.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::{MANIFEST, Manifest, ManifestError};

/// More files than this are not the sources of one function.
const MOST_FILES: usize = 20_000;

/// The globs name too much.
#[derive(Debug, thiserror::Error)]
#[error("`watch` in tidepool.toml names more than {MOST_FILES} files: name the sources alone")]
pub(crate) struct TooManyFiles;

/// Which files are a project's sources.
#[derive(Debug, Clone)]
pub(crate) struct Globs {
    root: PathBuf,
    set: GlobSet,
    /// The folders in which each glob begins.
    roots: Vec<PathBuf>,
    output: PathBuf,
}

impl Globs {
    /// Those of a project in a folder, whose path has no links in it.
    ///
    /// # Errors
    ///
    /// For a pattern that is none.
    pub(crate) fn of(root: &Path, manifest: &Manifest) -> Result<Self, ManifestError> {
        let wrong = |error: globset::Error| ManifestError::Glob { message: error.to_string() };
        let mut set = GlobSetBuilder::new();
        let mut roots = Vec::new();
        for text in manifest.build.watch.iter().map(String::as_str).chain([MANIFEST]) {
            let text = text.trim_start_matches("./");
            set.add(GlobBuilder::new(text).literal_separator(true).build().map_err(wrong)?);
            let fixed =
                Path::new(text).components().take_while(|part| !has_pattern(part.as_os_str().as_encoded_bytes()));
            let fixed: PathBuf = fixed.collect();
            // What has no pattern is a file, and its folder is where to look.
            roots.push(if fixed == Path::new(text) { fixed.parent().unwrap_or(&fixed).to_owned() } else { fixed });
        }
        let output = manifest.build.output.components().filter(|part| part.as_os_str() != ".").collect();
        Ok(Self { root: root.to_owned(), set: set.build().map_err(wrong)?, roots, output })
    }

    /// Whether a file at that path is a source, unless git ignores it.
    pub(crate) fn name(&self, path: &Path) -> bool {
        let Ok(path) = path.strip_prefix(&self.root) else { return false };
        path != self.output && self.set.is_match(path)
    }

    /// Whether there may be sources in a folder.
    pub(crate) fn may_be_in(&self, folder: &Path) -> bool {
        let Ok(folder) = folder.strip_prefix(&self.root) else { return false };
        if folder.components().any(|part| part.as_os_str() == ".git") {
            return false;
        }
        self.roots.iter().any(|root| root.starts_with(folder) || folder.starts_with(root))
    }
}

fn has_pattern(part: &[u8]) -> bool {
    part.iter().any(|byte| b"*?[{\\".contains(byte))
}

/// The state of one file: what says that it may have changed, and what it holds.
#[derive(Debug, Clone)]
struct State {
    stamp: (u64, u64, i64, i64, i64, i64),
    hash: [u8; 32],
}

/// The sources of a project as they were at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    files: BTreeMap<PathBuf, State>,
}

impl Files {
    /// Looks at the files. `seen` is told of each folder before what is in it is listed; `before` spares reading what has
    /// not been touched since.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub(crate) fn look(globs: &Globs, before: &Self, mut seen: impl FnMut(&Path)) -> Result<Self, TooManyFiles> {
        let within = globs.clone();
        let walk = WalkBuilder::new(&globs.root)
            .standard_filters(false)
            .hidden(false)
            .git_ignore(true)
            .require_git(false)
            .parents(false)
            .follow_links(false)
            .filter_entry(move |entry| {
                let folder = entry.file_type().is_some_and(|kind| kind.is_dir());
                if folder { within.may_be_in(entry.path()) } else { within.name(entry.path()) }
            })
            .build();
        let mut files = BTreeMap::new();
        // What vanishes while it is looked at is not there.
        for entry in walk.flatten() {
            match entry.file_type() {
                Some(kind) if kind.is_dir() => seen(entry.path()),
                Some(kind) if kind.is_file() => {
                    if let Ok(state) = state(entry.path(), before.files.get(entry.path())) {
                        files.insert(entry.into_path(), state);
                    }
                }
                _ => {}
            }
            if files.len() > MOST_FILES {
                return Err(TooManyFiles);
            }
        }
        Ok(Self { files })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether they hold the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let held =
            |files: &Self| files.files.iter().map(|(path, state)| (path.clone(), state.hash)).collect::<Vec<_>>();
        held(self) == held(other)
    }
}

/// A link, or a pipe, that has come into a file's place is not followed, and not waited for.
fn state(path: &Path, before: Option<&State>) -> io::Result<State> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let stamp = (found.ino(), found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    match before {
        Some(before) if before.stamp == stamp => Ok(before.clone()),
        _ => Ok(State { stamp, hash: hash(file)? }),
    }
}

fn hash(mut file: File) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
