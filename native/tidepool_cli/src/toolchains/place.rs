//! Where tool chains are, and how one comes to be there or goes: whole or not at all, whoever else does the same.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

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
        if place.is_dir() && fails(language, &place)?.is_none() {
            return Ok(Fetched { place, was_there: true });
        }
        clear(folder, toolchain)?;
        let unfinished = unfinished(folder, toolchain)?;
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
        File::open(&new).and_then(|new| Ok(rustix::fs::syncfs(new)?)).map_err(SetupError::at(&new))?;
        retire(folder, toolchain, &unfinished)?;
        fs::rename(&new, &place).map_err(SetupError::at(&place))?;
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
        let was_there = retire(folder, toolchain, &unfinished)?;
        let path = unfinished.path().to_owned();
        unfinished.close().map_err(SetupError::at(&path))?;
        Ok(was_there)
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

/// What a tool chain says of a line that it does not compile.
fn fails(language: Language, place: &Path) -> Result<Option<String>, RunError> {
    let path = joined(vec![place.join("bin")]);
    match compile(language, OsStr::new(&path))? {
        Line::Compiles => Ok(None),
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

/// Takes a tool chain, of whichever versions, out of its place, and says whether there was one.
fn retire(folder: &Path, toolchain: Toolchain, into: &tempfile::TempDir) -> Result<bool, SetupError> {
    let old = named(folder, toolchain.family())?;
    for (count, path) in old.iter().enumerate() {
        fs::rename(path, into.path().join(format!("old-{count}"))).map_err(SetupError::at(path))?;
    }
    Ok(!old.is_empty())
}

fn named(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, SetupError> {
    let entries = fs::read_dir(folder).map_err(SetupError::at(folder))?.flatten();
    Ok(entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect())
}
