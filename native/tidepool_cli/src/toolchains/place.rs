//! Where tool chains are, and how one comes to be there or goes: whole or not at all, whoever else does the same.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::line::{Line, compile};
use super::recipe::Recipe;
use super::{SetupError, Toolchain};
use crate::interrupt;
use crate::processes::{RunError, run};
use crate::project::Language;

/// Where programs are if nobody says.
const NO_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How often it is looked whether another one has let go of the lock.
const LOOK: Duration = Duration::from_millis(50);
/// What is being fetched, and what is being removed, are in folders whose names begin so; an earlier one may have been killed.
const UNFINISHED: &str = ".unfinished-";

/// The tool chains of a user.
#[derive(Debug)]
pub(crate) struct Toolchains {
    folder: Option<PathBuf>,
}

/// What came of a setup.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Where the tool chain is.
    pub(crate) place: PathBuf,
    /// Whether it was there already, and compiles.
    pub(crate) was_there: bool,
}

impl Toolchains {
    /// Those of the folder that `TIDEPOOL_TOOLCHAINS` names, or else of `tidepool/toolchains` where programs keep data.
    pub(crate) fn of_user() -> Self {
        let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // What is relative is none, by the standard for such folders.
        let data = || named("XDG_DATA_HOME").filter(|folder| folder.is_absolute());
        let home = || named("HOME").map(|home| home.join(".local/share"));
        let folder = named("TIDEPOOL_TOOLCHAINS")
            .or_else(|| data().or_else(home).map(|folder| folder.join("tidepool/toolchains")));
        // One that can't be told is that of no tool chains.
        Self { folder: folder.and_then(|folder| std::path::absolute(folder).ok()) }
    }

    /// Their folder, which need not be there.
    ///
    /// # Errors
    ///
    /// When the user has none, or it can't be in `PATH`.
    pub(crate) fn folder(&self) -> Result<&Path, SetupError> {
        let folder = self.folder.as_deref().ok_or(SetupError::NoFolder)?;
        if env::join_paths([folder]).is_err() {
            return Err(SetupError::Colon { path: folder.to_owned() });
        }
        Ok(folder)
    }

    /// Where a tool chain is, if it is there.
    pub(crate) fn place(&self, toolchain: Toolchain) -> Option<PathBuf> {
        self.folder().ok().map(|folder| folder.join(toolchain.name())).filter(|place| place.is_dir())
    }

    /// Where builds find programs: in the tool chains, and then where the user does.
    pub(crate) fn path(&self) -> OsString {
        let places = Toolchain::ALL.into_iter().filter_map(|toolchain| self.place(toolchain));
        joined(places.map(|place| place.join("bin")).collect())
    }

    /// Fetches what compiles a language, unless it is there and does. Another one that does the same is waited for; `tell`
    /// says what takes time.
    ///
    /// # Errors
    ///
    /// When it can't be had: then all is as it was before.
    pub(crate) fn fetch(&self, language: Language, tell: &dyn Fn(&str)) -> Result<Fetched, SetupError> {
        let toolchain = Toolchain::of(language);
        let folder = self.folder()?;
        fs::create_dir_all(folder).map_err(SetupError::at(folder))?;
        let _lock = lock(folder, toolchain, tell)?;
        let place = folder.join(toolchain.name());
        clear(folder, toolchain)?;
        let unfinished = unfinished(folder, toolchain)?;
        if place.is_dir() && fails(language, &place)?.is_none() {
            // Whoever has fetched it may have been killed before its other versions were gone.
            succeed(folder, toolchain, &unfinished, tell);
            return Ok(Fetched { place, was_there: true });
        }
        let new = unfinished.path().join("new");
        let what = toolchain.what();
        tell(&format!("fetching {what}, into {}", place.display()));
        let path = joined(Vec::new());
        let recipe = Recipe { what, into: new.clone(), scratch: unfinished.path().join("scratch"), path: &path };
        recipe.begin()?;
        toolchain.fetch(&recipe)?;
        if let Some(said) = fails(language, &new)? {
            return Err(SetupError::Useless { what: recipe.what, said });
        }
        // What is renamed is there after the machine has lost power, too.
        sync(&new).map_err(SetupError::at(&new))?;
        put(&new, &place).map_err(SetupError::at(&place))?;
        succeed(folder, toolchain, &unfinished, tell);
        Ok(Fetched { place, was_there: false })
    }

    /// Removes a tool chain, of whichever versions, and says whether there was one.
    ///
    /// # Errors
    ///
    /// When the system refuses it.
    pub(crate) fn remove(&self, toolchain: Toolchain, tell: &dyn Fn(&str)) -> Result<bool, SetupError> {
        let folder = self.folder()?;
        if !folder.is_dir() {
            return Ok(false);
        }
        let _lock = lock(folder, toolchain, tell)?;
        clear(folder, toolchain)?;
        let unfinished = unfinished(folder, toolchain)?;
        let all = named(folder, toolchain.family())?;
        retire(&all, &unfinished)?;
        let path = unfinished.path().to_owned();
        unfinished.close().map_err(SetupError::at(&path))?;
        Ok(!all.is_empty())
    }

    /// The version of a compiler, in its own words.
    ///
    /// # Errors
    ///
    /// When there was Ctrl-C.
    pub(crate) fn version(&self, toolchain: Toolchain) -> Result<Option<String>, SetupError> {
        let Some(place) = self.place(toolchain) else { return Ok(None) };
        let (program, argument) = match toolchain {
            Toolchain::Rust => ("rustc", "--version"),
            Toolchain::Assemblyscript => ("asc", "--version"),
            Toolchain::Zig => ("zig", "version"),
            Toolchain::Go => ("go", "version"),
            Toolchain::Javascript => ("componentize-js", "--version"),
            Toolchain::Python => ("componentize-py", "--version"),
        };
        let mut command = Command::new(place.join("bin").join(program));
        command.arg(argument).env("PATH", self.path()).env("GOTOOLCHAIN", "local");
        match run(&mut command, Some(Duration::from_secs(30))) {
            Ok(ran) => Ok(Some(ran.said)),
            Err(RunError::Interrupted) => Err(RunError::Interrupted.into()),
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}

/// Folders, and after them those of the user's `PATH`.
fn joined(folders: Vec<PathBuf>) -> OsString {
    let path = env::var_os("PATH").unwrap_or_else(|| NO_PATH.into());
    // None of them has a colon, or it would not be there.
    env::join_paths(folders.into_iter().chain(env::split_paths(&path))).unwrap_or(path)
}

/// What a tool chain says of a line that it does not compile. It has all the time that it wants: one that is given up would be
/// fetched again, and take as long.
fn fails(language: Language, place: &Path) -> Result<Option<String>, RunError> {
    let path = joined(vec![place.join("bin")]);
    match compile(language, OsStr::new(&path), None)? {
        // None is late without a deadline.
        Line::Compiles | Line::Late { .. } => Ok(None),
        Line::Fails { said } => Ok(Some(said)),
    }
}

/// Waits until nobody else fetches or removes that tool chain. Whoever is killed lets go of it.
fn lock(folder: &Path, toolchain: Toolchain, tell: &dyn Fn(&str)) -> Result<File, SetupError> {
    let path = folder.join(format!(".{}lock", toolchain.family()));
    let file = File::create(&path).map_err(SetupError::at(&path))?;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(SetupError::at(&path)(source)),
            Err(TryLockError::WouldBlock) if interrupt::is_told() => return Err(RunError::Interrupted.into()),
            Err(TryLockError::WouldBlock) => {
                if !is_told {
                    tell("waiting for another setup to end");
                    is_told = true;
                }
                thread::sleep(LOOK);
            }
        }
    }
}

/// A folder that goes with what is in it when it is dropped.
fn unfinished(folder: &Path, toolchain: Toolchain) -> Result<tempfile::TempDir, SetupError> {
    let prefix = format!("{UNFINISHED}{}", toolchain.family());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(folder).map_err(SetupError::at(folder))
}

/// Removes what those have left that were killed. The lock is held.
fn clear(folder: &Path, toolchain: Toolchain) -> Result<(), SetupError> {
    for path in named(folder, &format!("{UNFINISHED}{}", toolchain.family()))? {
        fs::remove_dir_all(&path).map_err(SetupError::at(&path))?;
    }
    Ok(())
}

/// Has the file system that a folder is on write to its disk what it holds.
#[cfg(target_os = "linux")]
fn sync(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// The same, of a system that has all of its file systems do so at once.
#[cfg(not(target_os = "linux"))]
fn sync(_folder: &Path) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// Puts a tool chain in its place. What was there is then where the new one was; at no time is there neither.
///
/// Some file systems, as those of networks, can't exchange two names. There it is moved aside, and back if that is of no use;
/// one who is killed in between leaves none, and the next setup fetches it. It was one that did not compile.
fn put(new: &Path, place: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => fs::rename(new, place),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => put_aside(new, place),
        Err(error) => Err(error.into()),
    }
}

fn put_aside(new: &Path, place: &Path) -> io::Result<()> {
    let aside = new.with_extension("old");
    match fs::rename(place, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(new, place).inspect_err(|_error| {
        // That there was none, or that it can't go back either, is nothing that the first error does not say.
        let _ = fs::rename(&aside, place);
    })
}

/// Takes a tool chain's other versions out of their places. One that can't go is in nobody's way.
fn succeed(folder: &Path, toolchain: Toolchain, into: &tempfile::TempDir, tell: &dyn Fn(&str)) {
    let is_other = |path: &PathBuf| !path.ends_with(toolchain.name());
    let others = named(folder, toolchain.family()).map(|all| all.into_iter().filter(is_other).collect::<Vec<_>>());
    if let Err(error) = others.and_then(|others| retire(&others, into)) {
        tell(&format!("an earlier version stays: {error}"));
    }
}

/// Takes tool chains out of their places.
fn retire(old: &[PathBuf], into: &tempfile::TempDir) -> Result<(), SetupError> {
    for (count, path) in old.iter().enumerate() {
        fs::rename(path, into.path().join(format!("old-{count}"))).map_err(SetupError::at(path))?;
    }
    Ok(())
}

fn named(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, SetupError> {
    let entries = fs::read_dir(folder).map_err(SetupError::at(folder))?.flatten();
    Ok(entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use std::fs;
    use std::io;
    use std::path::Path;

    use super::{put, put_aside};

    type Put = fn(&Path, &Path) -> io::Result<()>;

    #[test]
    fn a_tool_chain_is_put_where_there_is_one_or_none_and_one_that_can_not_be_leaves_what_was_there() {
        for put in [put as Put, put_aside] {
            let folder = tempfile::tempdir().unwrap();
            let (new, place) = (folder.path().join("new"), folder.path().join("place"));
            assert_eq!(put(&new, &place).unwrap_err().kind(), io::ErrorKind::NotFound);
            // Each setup has a folder of its own for what it fetches, and for what that replaces.
            let clear = || [&new, &new.with_extension("old")].map(|path| fs::remove_dir_all(path).is_ok());
            for text in ["first", "second"] {
                clear();
                fs::create_dir(&new).unwrap();
                fs::write(new.join("file"), text).unwrap();
                put(&new, &place).unwrap();
                assert_eq!(fs::read_to_string(place.join("file")).unwrap(), text);
            }
            clear();
            assert_eq!(put(&new, &place).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "second");
        }
    }
}
