//! Paths of guests: names that lead from a folder to what is in it, and never out of it.

use super::error::FileError;

/// Longest path, longest name, in bytes; and how deep folders lie.
const MAX_PATH_BYTES: usize = 4_096;
const MAX_NAME_BYTES: usize = 255;
const MAX_DEPTH: usize = 64;

/// Names with slashes between, without `.` and `..`; empty is the folder itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct FilePath(String);

/// A path that a guest gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) path: FilePath,
    /// Whether it says that it is a folder's: it ends with a slash, for one.
    pub(crate) of_folder: bool,
}

impl FilePath {
    /// The path of what a guest calls `given`, as seen from here. There are no symbolic links, so `..` is what is above.
    ///
    /// # Errors
    /// When it leads out of here, is too long, empty, or no text.
    pub(crate) fn resolve(&self, given: &[u8]) -> Result<Resolved, FileError> {
        if given.len() > MAX_PATH_BYTES {
            return Err(FileError::NameTooLong);
        }
        let given = std::str::from_utf8(given).map_err(|_| FileError::IllegalBytes)?;
        if given.is_empty() {
            return Err(FileError::NoEntry);
        }
        if given.contains('\0') {
            return Err(FileError::Invalid);
        }
        if given.starts_with('/') {
            return Err(FileError::NotPermitted);
        }
        let mut names: Vec<&str> = Vec::new();
        for name in given.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop().ok_or(FileError::NotPermitted)?),
                name if name.len() > MAX_NAME_BYTES => return Err(FileError::NameTooLong),
                name => names.push(name),
            }
        }
        let of_folder = given.rsplit('/').next().is_none_or(|last| matches!(last, "" | "." | ".."));
        Ok(Resolved { path: self.with(names)?, of_folder })
    }

    fn with<'a>(&'a self, names: impl IntoIterator<Item = &'a str>) -> Result<Self, FileError> {
        let names: Vec<&str> = self.names().chain(names).collect();
        let path = names.join("/");
        if names.len() > MAX_DEPTH || path.len() > MAX_PATH_BYTES {
            return Err(FileError::NameTooLong);
        }
        Ok(FilePath(path))
    }

    /// The path that an absolute one is, as folders are called: `/data`, and `.` or `/` for all there is.
    ///
    /// # Errors
    /// As for [`FilePath::resolve`].
    pub(crate) fn absolute(given: &str) -> Result<Self, FileError> {
        let below = given.trim_start_matches('/');
        if below.is_empty() && !given.is_empty() {
            return Ok(FilePath::default());
        }
        FilePath::default().resolve(below.as_bytes()).map(|resolved| resolved.path)
    }

    /// What is left of it below `folder`, if it lies there.
    pub(crate) fn below(&self, folder: &FilePath) -> Option<FilePath> {
        if folder.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(folder.0.as_str())?;
        if rest.is_empty() {
            Some(FilePath::default())
        } else {
            rest.strip_prefix('/').map(|rest| FilePath(rest.into()))
        }
    }

    /// The path of what is at `path` in here.
    ///
    /// # Errors
    /// When it is too long.
    pub(crate) fn join(&self, path: &FilePath) -> Result<FilePath, FileError> {
        self.with(path.names())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The folder that it is in, and its name there; `None` for the folder itself.
    pub(crate) fn split(&self) -> Option<(FilePath, &str)> {
        if self.is_root() {
            return None;
        }
        let (folder, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        Some((FilePath(folder.into()), name))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    fn resolved(folder: &str, given: &str) -> Result<(String, bool), FileError> {
        let folder = FilePath(folder.into());
        folder.resolve(given.as_bytes()).map(|it| (it.path.as_str().to_owned(), it.of_folder))
    }

    #[test]
    fn no_path_leads_out_of_its_folder() {
        for out in ["..", "../x", "a/../..", "a/../../b", "./..", "/", "/a", "//a", "a/b/../../../c"] {
            assert_eq!(resolved("own", out), Err(FileError::NotPermitted), "{out}");
        }
        assert_eq!(resolved("own", "a/../b"), Ok(("own/b".into(), false)));
        assert_eq!(resolved("own", "a//./b/"), Ok(("own/a/b".into(), true)));
        assert_eq!(resolved("own", "a/.."), Ok(("own".into(), true)));
        assert_eq!(resolved("", "."), Ok((String::new(), true)));
        assert_eq!(resolved("", "..."), Ok(("...".into(), false)));
    }

    #[test]
    fn paths_are_text_and_neither_long_nor_deep() {
        assert_eq!(resolved("", ""), Err(FileError::NoEntry));
        assert_eq!(resolved("", "a\0b"), Err(FileError::Invalid));
        assert_eq!(FilePath::default().resolve(b"\xff"), Err(FileError::IllegalBytes));
        let long = FileError::NameTooLong;
        assert!(resolved("", &"n".repeat(255)).is_ok());
        assert_eq!(resolved("", &"n".repeat(256)), Err(long));
        assert_eq!(resolved("", &"./".repeat(2_049)), Err(long));
        assert!(resolved("", &"d/".repeat(64)).is_ok());
        assert_eq!(resolved("", &"d/".repeat(65)), Err(long));
        assert_eq!(resolved("own", &"d/".repeat(64)), Err(long));
        let name = "n".repeat(200);
        let deep = FilePath([name.as_str(); 20].join("/"));
        assert_eq!(deep.resolve(format!("{name}/{name}").as_bytes()).unwrap_err(), long);
    }

    #[test]
    fn what_lies_below_a_folder_is_known_by_whole_names() {
        let path = |text: &str| FilePath::absolute(text).unwrap();
        assert_eq!(path("/data/a/b").below(&path("/data")), Some(path("/a/b")));
        assert_eq!(path("/data").below(&path("/data")), Some(path("/")));
        assert_eq!(path("/data").below(&path(".")), Some(path("data")));
        assert_eq!(path("/database").below(&path("/data")), None);
        assert!(FilePath::absolute("/a/../..").is_err() && FilePath::absolute("").is_err());
        assert_eq!(path("/a/b").split(), Some((path("/a"), "b")));
        assert_eq!(path("/").split(), None);
    }
}
