//! Disks that lose power: what was written to a file since it was last flushed is there afterwards, or is not, or a part of it is.
//!
//! Disks are full, too, and fail to flush: what they should have flushed then passes for flushed, and is not.
//!
//! Files are written to as ever, and of each block that changes it is kept what was in it when the file was last flushed. What is made
//! or removed of names is as if it were flushed at once, and so is what is in the first bytes of a file that is written without a place,
//! of which a voter has none that counts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_int};
use std::fs::{self, File, Metadata};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use fastrand::Rng;

/// What a disk writes as a whole.
const BLOCK: u64 = 4_096;

/// A file that has changed since it was flushed.
#[derive(Clone)]
struct Unflushed {
    /// How long it was, and to how many bytes it was cut since: it is cut whole or not at all, as that is a matter of its name.
    length: u64,
    cut: u64,
    /// What was in the blocks that have changed.
    blocks: BTreeMap<u64, Block>,
}

#[derive(Clone)]
struct Block {
    before: Vec<u8>,
    /// Whether a flush of it has failed: the next one passes it over.
    is_lost: bool,
}

/// How a disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Well,
    /// Nothing becomes longer.
    Full,
    /// Nothing of the state does, and there is room for the log.
    StateFull,
    /// Nothing is flushed.
    Fails,
}

/// By which a file is known whatever it is called.
type Id = (u64, u64);

thread_local! {
    static UNFLUSHED: RefCell<BTreeMap<Id, Unflushed>> = const { RefCell::new(BTreeMap::new()) };
    static LIES: Cell<&str> = const { Cell::new("") };
    static HEALTH: Cell<Health> = const { Cell::new(Health::Well) };
}

/// From now on the disk says that files are flushed whose names begin so, and does not do it.
pub(super) fn lie(of: &'static str) {
    LIES.set(of);
}

/// The disk of whoever runs from now on is so.
pub(super) fn set_health(health: Health) {
    HEALTH.set(health);
}

fn id(file: &Metadata) -> Id {
    (file.dev(), file.ino())
}

/// Does something with an open file, which stays open.
fn with<T>(file: c_int, what: impl FnOnce(&File) -> T) -> T {
    // SAFETY: who calls the system with it has it open, and it is not closed here.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(file) });
    what(&file)
}

/// The end of what changes when a file is cut.
pub(super) const CUT: u64 = u64::MAX;

/// The bytes of a file from one place to another are about to change. Is there room for them?
pub(super) fn changes(file: c_int, from: u64, to: u64) -> bool {
    let has_room = match HEALTH.get() {
        Health::Well | Health::Fails => true,
        Health::Full => false,
        Health::StateFull => !name(file).starts_with("records.db"),
    };
    with(file, |file| {
        let Ok(about) = file.metadata() else { return true };
        if !has_room && to != CUT && to > about.len() {
            return false;
        }
        // One that has no name is gone with who has it open.
        if about.is_file() && about.nlink() > 0 {
            UNFLUSHED.with_borrow_mut(|files| {
                let before = files.entry(id(&about)).or_insert_with(|| Unflushed::new(about.len()));
                before.change(file, from, to);
            });
        }
        true
    })
}

impl Unflushed {
    fn new(length: u64) -> Self {
        Unflushed { length, cut: u64::MAX, blocks: BTreeMap::new() }
    }

    fn change(&mut self, file: &File, from: u64, to: u64) {
        for block in from / BLOCK..to.min(self.length).div_ceil(BLOCK) {
            let begins = block * BLOCK;
            let length = BLOCK.min(self.length - begins) as usize;
            let read = || {
                let mut before = vec![0; length];
                file.read_exact_at(&mut before, begins).unwrap();
                Block { before, is_lost: false }
            };
            self.blocks.entry(block).or_insert_with(read).is_lost = false;
        }
        if to == CUT {
            self.cut = self.cut.min(from);
        }
    }

    /// It was not flushed, and passes for it.
    fn fail(&mut self, length: u64) {
        let first = self.length.div_ceil(BLOCK);
        for block in first..length.div_ceil(BLOCK) {
            self.blocks.insert(block, Block { before: vec![0; BLOCK as usize], is_lost: true });
        }
        self.blocks.values_mut().for_each(|block| block.is_lost = true);
        (self.length, self.cut) = (length, u64::MAX);
    }

    /// It was flushed, but for what passes for it.
    fn flush(&mut self, length: u64) {
        self.blocks.retain(|block, it| it.is_lost && block * BLOCK < length);
        (self.length, self.cut) = (length, u64::MAX);
    }
}

/// What is in a file is on the disk, unless that fails.
pub(super) fn flushes(file: c_int) -> bool {
    if !LIES.get().is_empty() && name(file).starts_with(LIES.get()) {
        return true;
    }
    let fails = HEALTH.get() == Health::Fails;
    with(file, |file| {
        let Ok(about) = file.metadata() else { return };
        UNFLUSHED.with_borrow_mut(|files| {
            if let Some(before) = files.get_mut(&id(&about)) {
                if fails {
                    before.fail(about.len())
                } else {
                    before.flush(about.len())
                }
                if before.blocks.is_empty() {
                    files.remove(&id(&about));
                }
            }
        });
    });
    !fails
}

fn name(file: c_int) -> String {
    let path = fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default();
    path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}

/// A name is about to be removed, and another file may be known by the same number later.
pub(super) fn removed(path: &CStr) {
    forget(Path::new(OsStr::from_bytes(path.to_bytes())));
}

fn forget(path: &Path) {
    if let Ok(about) = fs::metadata(path) {
        UNFLUSHED.with_borrow_mut(|files| files.remove(&id(&about)));
    }
}

/// Removes a folder.
pub(super) fn remove(folder: &Path) {
    for file in names(folder) {
        forget(&folder.join(file));
    }
    fs::remove_dir_all(folder).unwrap();
}

/// The names of files in a folder, in their order.
fn names(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// What is left of what was not flushed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Left {
    /// All: it was the process that ended.
    All,
    /// What chance leaves of each file, after a loss of power.
    Some,
}

/// Makes another folder of what is left of one.
pub(super) fn leave(from: &Path, to: &Path, left: Left, rng: &mut Rng) {
    fs::create_dir_all(to).unwrap();
    // The index of a log is made anew of the log.
    for name in names(from).into_iter().filter(|name| !name.ends_with("-shm")) {
        let path = from.join(&name);
        let now = fs::read(&path).unwrap();
        let found = id(&fs::metadata(&path).unwrap());
        let before = UNFLUSHED.with_borrow(|files| files.get(&found).cloned());
        let left_in = to.join(name);
        match (before, left) {
            (Some(before), Left::Some) => fs::write(left_in, survived(&now, &before, rng)).unwrap(),
            (before, _all) => {
                fs::write(&left_in, now).unwrap();
                let found = id(&fs::metadata(left_in).unwrap());
                UNFLUSHED.with_borrow_mut(|files| files.extend(before.map(|before| (found, before))));
            }
        }
    }
}

/// What is on the disk of a file.
fn survived(now: &[u8], before: &Unflushed, rng: &mut Rng) -> Vec<u8> {
    let blocks = before.length.max(now.len() as u64).div_ceil(BLOCK);
    let (kind, first, is_cut) = (rng.u8(..4), rng.u64(..=blocks), rng.bool());
    let is_new = |rng: &mut Rng, block| match kind {
        0 => false,
        1 => true,
        // Disks write from the beginning to the end, more or less.
        2 => block < first,
        _each => rng.bool(),
    };
    // What comes after it was cut is nowhere when it was not.
    let (length, is_old) =
        if is_cut { (before.length.min(before.cut), false) } else { (before.length, before.cut < before.length) };
    let mut bytes = Vec::new();
    for block in 0..blocks {
        let found = before.blocks.get(&block);
        let is_new = is_new(rng, block) && !is_old && !found.is_some_and(|block| block.is_lost);
        let piece = match found {
            _ if is_new => piece(now, block, u64::MAX),
            Some(Block { before: old, .. }) => &old[..(length.saturating_sub(block * BLOCK) as usize).min(old.len())],
            // It is as it was.
            None => piece(now, block, length),
        };
        if !piece.is_empty() {
            bytes.resize((block * BLOCK) as usize, 0);
            bytes.extend_from_slice(piece);
        }
    }
    bytes
}

/// The bytes of a block, as far as the file goes, and no further than that length.
fn piece(bytes: &[u8], block: u64, length: u64) -> &[u8] {
    let most = length.min(bytes.len() as u64);
    let begins = (block * BLOCK).min(most);
    &bytes[begins as usize..(begins + BLOCK).min(most) as usize]
}
