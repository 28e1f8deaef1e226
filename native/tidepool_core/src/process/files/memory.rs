//! A folder in memory: what is in it, by names.
//!
//! One lock is around all names of a folder, and one around what each file holds. What a program has open stays as it is when its
//! name goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::content::{File, now_ns, number};
use super::error::FileError;
use super::path::FilePath;
use super::quota::Quota;
use crate::base::config::FilesConfig;
use crate::process::bounds::account::Account;

/// What a file or a folder takes beside its name and what it holds.
const ENTRY_BYTES: usize = 256;

/// What is known of a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) is_folder: bool,
    pub(crate) size: u64,
    pub(crate) modified_ns: u64,
    /// Tells it from all others of its folder.
    pub(crate) number: u64,
}

/// What a folder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) is_folder: bool,
    pub(crate) number: u64,
}

/// What all folders of a program's memory have together.
pub(crate) struct Room(Arc<Quota>);

impl Room {
    pub(crate) fn new(most: FilesConfig, account: &Arc<Account>) -> Self {
        Room(Quota::new(most, account))
    }
}

/// A folder in memory, and all that is in it.
pub(crate) struct Memory {
    quota: Arc<Quota>,
    root: Mutex<Folder>,
}

struct Folder {
    number: u64,
    modified_ns: u64,
    entries: BTreeMap<String, Entry>,
}

enum Entry {
    File(Arc<File>),
    Folder(Folder),
}

impl Memory {
    pub(crate) fn new(room: &Room) -> Self {
        Memory { quota: Arc::clone(&room.0), root: Mutex::new(Folder::new()) }
    }

    /// # Errors
    /// When there is nothing at `path`.
    pub(crate) fn stat(&self, path: &FilePath) -> Result<Stat, FileError> {
        let mut root = self.root();
        let Some((folder, name)) = path.split() else { return Ok(root.stat()) };
        Ok(root.find(&folder)?.entries.get(name).ok_or(FileError::NoEntry)?.stat())
    }

    /// # Errors
    /// When there is no folder at `path`.
    pub(crate) fn list(&self, path: &FilePath) -> Result<Vec<Listed>, FileError> {
        let mut root = self.root();
        let entries = root.find(path)?.entries.iter().map(|(name, entry)| {
            let Stat { is_folder, number, .. } = entry.stat();
            Listed { name: name.clone(), is_folder, number }
        });
        Ok(entries.collect())
    }

    /// The file at `path`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn file(&self, path: &FilePath) -> Result<Arc<File>, FileError> {
        let mut root = self.root();
        let (folder, name) = path.split().ok_or(FileError::IsFolder)?;
        match root.find(&folder)?.entries.get(name).ok_or(FileError::NoEntry)? {
            Entry::File(file) => Ok(Arc::clone(file)),
            Entry::Folder(_) => Err(FileError::IsFolder),
        }
    }

    /// Makes a file or a folder where nothing is.
    ///
    /// # Errors
    /// When something is there, or the folder is not that it would be in; and [`FileError::NoSpace`].
    pub(crate) fn create(&self, path: &FilePath, is_folder: bool) -> Result<(), FileError> {
        let mut root = self.root();
        let (folder, name) = path.split().ok_or(FileError::Exists)?;
        let folder = root.find(&folder)?;
        if folder.entries.contains_key(name) {
            return Err(FileError::Exists);
        }
        self.quota.add_file(name.len() + ENTRY_BYTES)?;
        let entry = if is_folder { Entry::Folder(Folder::new()) } else { Entry::File(File::new(&self.quota)) };
        folder.entries.insert(name.to_owned(), entry);
        folder.modified_ns = now_ns();
        Ok(())
    }

    /// Removes a file, or an empty folder.
    ///
    /// # Errors
    /// When it is not there, is the other of these, or is a folder that has something.
    pub(crate) fn remove(&self, path: &FilePath, is_folder: bool) -> Result<(), FileError> {
        let removed = {
            let mut root = self.root();
            let (folder, name) = path.split().ok_or(FileError::Busy)?;
            let folder = root.find(&folder)?;
            match folder.entries.get(name).ok_or(FileError::NoEntry)? {
                Entry::File(_) if is_folder => return Err(FileError::NotFolder),
                Entry::Folder(_) if !is_folder => return Err(FileError::IsFolder),
                Entry::Folder(inner) if !inner.entries.is_empty() => return Err(FileError::NotEmpty),
                Entry::File(_) | Entry::Folder(_) => {}
            }
            self.quota.remove_file(name.len() + ENTRY_BYTES);
            folder.modified_ns = now_ns();
            folder.entries.remove(name)
        };
        // Without the lock: it may be large.
        drop(removed);
        Ok(())
    }

    /// Gives what is at `from` the path `to`, in place of a file or an empty folder there.
    ///
    /// # Errors
    /// When one is not there, they don't fit each other, or the folder would lie in itself.
    pub(crate) fn rename(&self, from: &FilePath, to: &FilePath) -> Result<(), FileError> {
        let replaced = {
            let mut root = self.root();
            let (from_folder, from_name) = from.split().ok_or(FileError::Busy)?;
            let (to_folder, to_name) = to.split().ok_or(FileError::Busy)?;
            let moves_folder = match root.find(&from_folder)?.entries.get(from_name).ok_or(FileError::NoEntry)? {
                Entry::Folder(_) => true,
                Entry::File(_) => false,
            };
            if from == to {
                return Ok(());
            }
            if moves_folder && to.below(from).is_some() {
                return Err(FileError::Invalid);
            }
            let new = root.find(&to_folder)?;
            match new.entries.get(to_name) {
                Some(Entry::Folder(_)) if !moves_folder => return Err(FileError::IsFolder),
                Some(Entry::File(_)) if moves_folder => return Err(FileError::NotFolder),
                Some(Entry::Folder(inner)) if !inner.entries.is_empty() => return Err(FileError::NotEmpty),
                _ => {}
            }
            self.quota.grow(to_name.len().saturating_sub(from_name.len()))?;
            let old = root.find(&from_folder)?;
            old.modified_ns = now_ns();
            let Some(entry) = old.entries.remove(from_name) else { return Err(FileError::NoEntry) };
            self.quota.shrink(from_name.len().saturating_sub(to_name.len()));
            let new = root.find(&to_folder)?;
            new.modified_ns = now_ns();
            let replaced = new.entries.insert(to_name.to_owned(), entry);
            if replaced.is_some() {
                self.quota.remove_file(to_name.len() + ENTRY_BYTES);
            }
            replaced
        };
        drop(replaced);
        Ok(())
    }

    /// Says when a file or a folder was last changed.
    ///
    /// # Errors
    /// When there is nothing at `path`.
    pub(crate) fn set_modified_ns(&self, path: &FilePath, time: u64) -> Result<(), FileError> {
        let mut root = self.root();
        let Some((folder, name)) = path.split() else {
            root.modified_ns = time;
            return Ok(());
        };
        match root.find(&folder)?.entries.get_mut(name).ok_or(FileError::NoEntry)? {
            Entry::File(file) => file.set_modified_ns(time),
            Entry::Folder(folder) => folder.modified_ns = time,
        }
        Ok(())
    }

    /// Makes a file that holds `bytes`, with the folders on its path.
    ///
    /// # Errors
    /// When there is a file where a folder has to be, or the other way round; and [`FileError::NoSpace`].
    pub(crate) fn fill(&self, path: &FilePath, bytes: &[u8]) -> Result<(), FileError> {
        let mut above = Vec::new();
        let mut next = path.split();
        while let Some((folder, _name)) = next.filter(|(folder, _name)| !folder.is_root()) {
            next = folder.split().map(|(folder, _)| (folder, ""));
            above.push(folder);
        }
        for (path, is_folder) in above.iter().rev().map(|folder| (folder, true)).chain([(path, false)]) {
            match self.create(path, is_folder) {
                Ok(()) | Err(FileError::Exists) => {}
                Err(error) => return Err(error),
            }
        }
        let file = self.file(path)?;
        file.resize(0)?;
        file.write(Some(0), bytes).map(|_end| ())
    }

    fn root(&self) -> MutexGuard<'_, Folder> {
        // Nothing panics while it holds the lock.
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder {
    fn new() -> Self {
        Folder { number: number(), modified_ns: now_ns(), entries: BTreeMap::new() }
    }

    fn stat(&self) -> Stat {
        Stat { is_folder: true, size: 0, modified_ns: self.modified_ns, number: self.number }
    }

    fn find(&mut self, path: &FilePath) -> Result<&mut Folder, FileError> {
        path.names().try_fold(self, |folder, name| match folder.entries.get_mut(name) {
            Some(Entry::Folder(inner)) => Ok(inner),
            Some(Entry::File(_)) => Err(FileError::NotFolder),
            None => Err(FileError::NoEntry),
        })
    }
}

impl Drop for Folder {
    /// One after the other, and not each by the one that it is in: folders may be moved deeper than a stack is.
    fn drop(&mut self) {
        let mut left = vec![std::mem::take(&mut self.entries)];
        while let Some(entries) = left.pop() {
            for entry in entries.into_values() {
                if let Entry::Folder(mut folder) = entry {
                    left.push(std::mem::take(&mut folder.entries));
                }
            }
        }
    }
}

impl Entry {
    fn stat(&self) -> Stat {
        match self {
            Entry::Folder(folder) => folder.stat(),
            Entry::File(file) => {
                Stat { is_folder: false, size: file.size(), modified_ns: file.modified_ns(), number: file.number }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    fn memory(max_program_files: usize) -> Memory {
        let most = FilesConfig { max_program_files, max_program_bytes: 100_000 };
        Memory::new(&Room::new(most, &Account::new(usize::MAX, None)))
    }

    fn path(text: &str) -> FilePath {
        FilePath::absolute(text).unwrap()
    }

    fn names(memory: &Memory, at: &str) -> Vec<String> {
        memory.list(&path(at)).unwrap().into_iter().map(|listed| listed.name).collect()
    }

    #[test]
    fn files_are_found_by_their_paths_and_renamed_over_what_fits() {
        let memory = memory(100);
        for (file, bytes) in [("a/b/one", "1"), ("a/two", "2"), ("three", "3")] {
            memory.fill(&path(file), bytes.as_bytes()).unwrap();
        }
        memory.create(&path("empty"), true).unwrap();
        assert_eq!(names(&memory, "/"), ["a", "empty", "three"]);
        let rename = |from: &str, to: &str| memory.rename(&path(from), &path(to));
        assert_eq!(rename("a", "a/b/c"), Err(FileError::Invalid));
        assert_eq!(rename("a", "a"), Ok(()));
        assert_eq!(rename("a", "three"), Err(FileError::NotFolder));
        assert_eq!(rename("three", "a"), Err(FileError::IsFolder));
        assert_eq!(rename("empty", "a"), Err(FileError::NotEmpty));
        assert_eq!(rename("none", "a"), Err(FileError::NoEntry));
        assert_eq!(rename("three/x", "a"), Err(FileError::NotFolder));
        assert_eq!(rename("a/b", "empty"), Ok(()));
        assert_eq!(rename("three", "a/two"), Ok(()));
        assert_eq!((names(&memory, "/"), names(&memory, "a"), names(&memory, "empty")), {
            let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
            (list(&["a", "empty"]), list(&["two"]), list(&["one"]))
        });
        let mut byte = [0];
        assert_eq!(memory.file(&path("a/two")).unwrap().read(0, &mut byte), 1);
        assert_eq!(&byte, b"3");
    }

    #[test]
    fn only_what_is_empty_is_removed_and_what_is_open_outlives_its_name() {
        let memory = memory(100);
        memory.fill(&path("a/file"), b"kept").unwrap();
        let remove = |at: &str, is_folder| memory.remove(&path(at), is_folder);
        assert_eq!(remove("a", true), Err(FileError::NotEmpty));
        assert_eq!(remove("a", false), Err(FileError::IsFolder));
        assert_eq!(remove("a/file", true), Err(FileError::NotFolder));
        assert_eq!(remove("/", true), Err(FileError::Busy));
        let open = memory.file(&path("a/file")).unwrap();
        assert_eq!((remove("a/file", false), remove("a", true)), (Ok(()), Ok(())));
        let mut bytes = [0; 4];
        assert_eq!((open.read(0, &mut bytes), &bytes), (4, b"kept"));
        assert_eq!(memory.stat(&path("a")), Err(FileError::NoEntry));
    }

    #[test]
    fn folders_that_were_moved_deeper_than_a_stack_is_go_as_others_do() {
        let most = FilesConfig { max_program_files: 1_000_000, max_program_bytes: usize::MAX };
        let memory = Memory::new(&Room::new(most, &Account::new(usize::MAX, None)));
        let chain = |name: &str, depth: usize| path(&vec![name; depth].join("/"));
        for round in 0..2_000 {
            let (own, other) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
            (1..64).for_each(|depth| memory.create(&chain(own, depth), true).unwrap());
            if round > 0 {
                let deeper = path(&format!("{}/{other}", chain(own, 63).as_str()));
                memory.rename(&path(other), &deeper).unwrap();
            }
        }
        drop(memory);
    }

    #[test]
    fn there_are_as_many_files_as_may_be_and_what_is_removed_makes_room() {
        let memory = memory(3);
        for name in ["a", "b", "c"] {
            memory.create(&path(name), name == "a").unwrap();
        }
        assert_eq!(memory.create(&path("a/d"), false), Err(FileError::NoSpace));
        memory.remove(&path("b"), false).unwrap();
        memory.create(&path("a/d"), false).unwrap();
        assert_eq!(memory.create(&path("e"), false), Err(FileError::NoSpace));
        memory.remove(&path("a/d"), false).unwrap();
        memory.rename(&path("c"), &path("b")).unwrap();
        memory.create(&path("d"), false).unwrap();
        memory.rename(&path("d"), &path("longer")).unwrap();
        memory.rename(&path("longer"), &path("b")).unwrap();
        let fill = |bytes: usize| memory.fill(&path("b"), &vec![0; bytes]);
        assert_eq!(fill(100_000), Err(FileError::NoSpace), "names and bookkeeping count, too");
        fill(90_000).unwrap();
        memory.remove(&path("b"), false).unwrap();
        memory.fill(&path("f"), &vec![0; 90_000]).unwrap();
    }
}
