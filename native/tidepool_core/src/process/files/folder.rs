//! The folders that a process finds, and what answers for them.

use std::sync::Arc;

use super::error::FileError;
use super::memory::{Memory, Room};
use super::path::FilePath;
use crate::base::config::{FilesConfig, FolderConfig};
use crate::base::error::CallError;
use crate::process::bounds::account::Account;

/// Folders of a process. It shares them with its program.
pub(crate) type Folders = Arc<[Preopen]>;

/// What answers for a folder.
#[derive(Clone)]
pub(crate) enum Source {
    Memory(Arc<Memory>),
    /// The host, by its name for it.
    Host(Arc<str>),
}

/// A folder that a process finds when it begins.
#[derive(Clone)]
pub(crate) struct Preopen {
    /// The guest's name for it.
    pub(crate) name: Arc<str>,
    pub(crate) source: Source,
    /// Where it is in its source.
    pub(crate) path: FilePath,
    pub(crate) writable: bool,
}

impl Source {
    pub(crate) fn is(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Memory(one), Source::Memory(other)) => Arc::ptr_eq(one, other),
            (Source::Host(one), Source::Host(other)) => one == other,
            _ => false,
        }
    }
}

impl Preopen {
    /// The folder that a process which has `own` means by `name`, for one that it makes.
    pub(crate) fn within(own: &[Preopen], name: &str) -> Option<Preopen> {
        let (preopen, rest) = nearest(own, &FilePath::absolute(name).ok()?)?;
        Some(Preopen { name: name.into(), path: preopen.path.join(&rest).ok()?, ..preopen.clone() })
    }
}

/// The folder that a path lies in, the innermost of those that there are, and the rest of the path.
fn nearest<'a>(own: &'a [Preopen], path: &FilePath) -> Option<(&'a Preopen, FilePath)> {
    let below = |preopen: &'a Preopen| Some((preopen, path.below(&FilePath::absolute(&preopen.name).ok()?)?));
    own.iter().filter_map(below).min_by_key(|(_preopen, rest)| rest.as_str().len())
}

/// The folders of a program, and files in those of memory.
///
/// # Errors
/// [`CallError::InvalidOption`] when a file has another place, [`CallError::Overloaded`] when there is no room for it.
pub(crate) fn folders(
    configs: &[FolderConfig],
    most: FilesConfig,
    account: &Arc<Account>,
    files: &[(String, bytes::Bytes)],
) -> Result<Folders, CallError> {
    if configs.is_empty() && files.is_empty() {
        return Ok(Arc::default());
    }
    let room = Room::new(most, account);
    let preopen = |config: &FolderConfig| Preopen {
        name: config.path.as_str().into(),
        source: match &config.host {
            Some(name) => Source::Host(name.as_str().into()),
            None => Source::Memory(Arc::new(Memory::new(&room))),
        },
        path: FilePath::default(),
        writable: config.writable,
    };
    let folders: Folders = configs.iter().map(preopen).collect();
    for (name, bytes) in files {
        let invalid = |message| CallError::InvalidOption { message };
        let path = FilePath::absolute(name).map_err(|_| invalid(format!("{name:?} is no path of a file")))?;
        let Some((Preopen { source: Source::Memory(memory), .. }, rest)) = nearest(&folders, &path) else {
            return Err(invalid(format!("{name:?} is in no folder that the function has in memory")));
        };
        memory.fill(&rest, bytes).map_err(|error| match error {
            FileError::NoSpace | FileError::TooLarge => {
                CallError::Overloaded { message: format!("there is no room for the file {name:?}") }
            }
            _ => invalid(format!("there can't be a file {name:?} beside the others")),
        })?;
    }
    Ok(folders)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    fn all(configs: &[(&str, Option<&str>)], files: &[&str]) -> Result<Folders, CallError> {
        let config = |(path, host): &(&str, Option<&str>)| FolderConfig {
            path: (*path).into(),
            host: host.map(Into::into),
            writable: true,
        };
        let configs: Vec<_> = configs.iter().map(config).collect();
        let files: Vec<_> = files.iter().map(|path| ((*path).to_owned(), "12345".into())).collect();
        let most = FilesConfig { max_program_files: 10, max_program_bytes: 10_000 };
        folders(&configs, most, &Account::new(usize::MAX, None), &files)
    }

    #[test]
    fn files_are_put_into_the_innermost_folder_of_memory() {
        let configs = [("/data", None), ("/data/in", None), ("/data/host", Some("h"))];
        let folders = all(&configs, &["/data/a/b", "/data/in/c"]).unwrap();
        let size = |at: usize, path: &str| match &folders.get(at).unwrap().source {
            Source::Memory(memory) => memory.stat(&FilePath::absolute(path).unwrap()).map(|stat| stat.size),
            Source::Host(_) => Err(FileError::Io),
        };
        assert_eq!((size(0, "a/b"), size(1, "c")), (Ok(5), Ok(5)));
        for misplaced in ["/data/host/x", "/other", "/", "/data", "/data/../.."] {
            assert!(matches!(all(&configs, &[misplaced]), Err(CallError::InvalidOption { .. })), "{misplaced}");
        }
        assert!(matches!(all(&configs, &["/data/a", "/data/a/b"]), Err(CallError::InvalidOption { .. })));
        let many: Vec<String> = (0..11).map(|number| format!("/data/{number}")).collect();
        let many = all(&configs, &many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(matches!(many, Err(CallError::Overloaded { .. })));
    }

    #[test]
    fn a_child_gets_folders_within_those_of_its_maker() {
        let own = all(&[("/data", None), ("/", Some("h"))], &[]).unwrap();
        let within = |name: &str| {
            let got = Preopen::within(&own, name)?;
            Some((matches!(got.source, Source::Memory(_)), got.path.as_str().to_owned()))
        };
        assert_eq!(within("/data/a"), Some((true, "a".into())));
        assert_eq!(within("data"), Some((true, String::new())));
        assert_eq!(within("."), Some((false, String::new())));
        assert_eq!(within("/database"), Some((false, "database".into())));
        assert_eq!((within(".."), within("")), (None, None));
        let less = all(&[("/data", None)], &[]).unwrap();
        assert!(Preopen::within(&less, "/").is_none() && Preopen::within(&less, "/other").is_none());
    }
}
