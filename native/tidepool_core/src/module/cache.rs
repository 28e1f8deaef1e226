//! Compiled code on disk, so that a restart does not compile again what this node has compiled before.
//!
//! A file is named by a hash over everything that its code depends on: the module, what was asked of the compiler, the
//! engine's settings, wasmtime's version and the CPU. It is written beside its place, flushed and renamed. The files
//! together take a bounded number of bytes; of the namespace that has the most the one that was used longest ago goes first.
//!
//! Compiled code is run as it is: nothing in it is checked. So each file carries a tag, made with a key that this node
//! drew at random and only its user can read, over its name and all of its content. A file whose tag is not right was
//! damaged, or not written by this node: it is removed, and the module compiled anew. A process that can read the key, or
//! write where it lies, can forge code; it could change the node's program as well. What a tag can't tell is a
//! file that was put back after it had been removed: it is still what this node has compiled from that very module.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::kept::{Kept, KeptFiles, OWNER_BYTES, Owner, owner};
use crate::base::origin::Origin;
use crate::compiler::Code;

/// Changes with what a file holds, and with what is done to a module before it is compiled: older files are of no use.
const FORMAT: u32 = 13;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
/// Ends the names of files that are being written.
const UNFINISHED: &str = "new";

/// Called with a complaint of the cache, a sentence.
pub type Complaint = dyn Fn(String) + Send + Sync;

/// Compiled code in a folder of its own.
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    max_bytes: u64,
    complain: Box<Complaint>,
    /// A disk that can't be written is named once.
    failed: AtomicBool,
    /// Those that there are, and are not about to be removed.
    kept: Mutex<KeptFiles>,
}

/// What one module's code depends on: it names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheKey {
    engine: String,
    module: blake3::Hash,
}

/// A compiled module, and how it was prepared.
pub(crate) struct Artifact {
    pub(crate) code: Code,
    pub(crate) origin: Origin,
}

impl CacheKey {
    /// That of the code of `wasm` on `engine`; `options` stand for what was asked of the compiler beside.
    pub(crate) fn new(engine: &wasmtime::Engine, options: &[u8], wasm: &[u8]) -> Self {
        let engine = self::engine(engine);
        let mut hasher = blake3::Hasher::new();
        hasher.update(engine.as_bytes());
        hasher.update(&(options.len() as u64).to_le_bytes());
        hasher.update(options);
        hasher.update(wasm);
        CacheKey { engine, module: hasher.finalize() }
    }

    fn file(&self) -> String {
        format!("{}-{}", self.engine, self.module.to_hex())
    }
}

impl Cache {
    /// The cache in `folder`, which is made if it isn't there, with its key. What code for none of `engines` is in, and
    /// what unfinished writes have left, is removed. `complain` is told of files that are not as they were written, and
    /// once of a disk that fails.
    ///
    /// # Errors
    /// When the folder or the key can't be made or read.
    pub(crate) fn open<'a>(
        folder: &Path,
        max_bytes: u64,
        engines: impl Iterator<Item = &'a wasmtime::Engine>,
        complain: Box<Complaint>,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let engines: Vec<String> = engines.map(engine).collect();
        for entry in fs::read_dir(folder)?.flatten() {
            let name = entry.file_name();
            let old = name.to_str().and_then(engine_of).is_some_and(|engine| !engines.iter().any(|it| it == engine));
            if old || Path::new(&name).extension().is_some_and(|extension| extension == UNFINISHED) {
                // What can't be removed is not used all the same.
                let _ = fs::remove_file(entry.path());
            }
        }
        let key = key(&folder.join("key"))?;
        let mut kept = KeptFiles::default();
        for (name, file) in files(folder)? {
            kept.insert(name.into(), file);
        }
        let cache = Cache {
            folder: folder.to_owned(),
            key,
            max_bytes,
            complain,
            failed: AtomicBool::new(false),
            kept: Mutex::new(kept),
        };
        cache.prune()?;
        Ok(cache)
    }

    /// The code of this name, if this node has kept it.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, name: &CacheKey) -> Option<Artifact> {
        let path = self.folder.join(name.file());
        let bytes = match read(&path, self.max_bytes) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.kept().remove(&name.file());
                return None;
            }
            Err(error) => {
                self.fail(&path, &error);
                return None;
            }
        };
        let found = self.authentic(name, &bytes).and_then(|(owner, content)| Some((owner, artifact(engine, content)?)));
        let Some((owner, artifact)) = found else {
            (self.complain)(format!("{} is damaged, or not of this node: it was removed", path.display()));
            let _ = fs::remove_file(&path);
            self.kept().remove(&name.file());
            return None;
        };
        self.kept().insert(name.file().into(), Kept { owner, bytes: bytes.len() as u64, used: SystemTime::now() });
        Some(artifact)
    }

    /// Keeps code, as that of a namespace. What can't be kept is compiled again next time.
    pub(crate) fn store(&self, name: &CacheKey, namespace: &str, origin: &Origin, code: &[u8]) {
        let owner = owner(namespace);
        let Some(head) = head(&owner, origin) else { return };
        let bytes = (TAG_BYTES + head.len() + code.len()) as u64;
        if bytes > self.max_bytes {
            return;
        }
        let path = self.folder.join(name.file());
        let written = write(&path, &[self.tag(name, &[&head, code]).as_bytes(), &head, code]).and_then(|()| {
            self.kept().insert(name.file().into(), Kept { owner, bytes, used: SystemTime::now() });
            self.prune()
        });
        if let Err(error) = written {
            self.fail(&path, &error);
        }
    }

    /// Whose it is and what follows, if the tag is right.
    fn authentic<'a>(&self, name: &CacheKey, bytes: &'a [u8]) -> Option<(Owner, &'a [u8])> {
        let (tag, rest) = bytes.split_first_chunk::<TAG_BYTES>()?;
        let (owner, content) = rest.split_first_chunk::<OWNER_BYTES>()?;
        // `Hash` compares in constant time.
        (self.tag(name, &[rest]) == blake3::Hash::from_bytes(*tag)).then_some((*owner, content))
    }

    fn tag(&self, name: &CacheKey, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.file().as_bytes());
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }

    fn kept(&self) -> MutexGuard<'_, KeptFiles> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes files until the others fit, of the namespace that has the most first. The disk is waited for without the lock. One that is
    /// written again meanwhile may be removed, and is compiled once more.
    fn prune(&self) -> io::Result<()> {
        let mut files = self.kept().take_beyond(self.max_bytes).into_iter();
        while let Some((name, kept)) = files.next() {
            if let Err(error) = fs::remove_file(self.folder.join(&*name))
                && error.kind() != ErrorKind::NotFound
            {
                self.kept().put_back(iter::once((name, kept)).chain(files));
                return Err(error);
            }
        }
        Ok(())
    }

    fn fail(&self, path: &Path, error: &io::Error) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            (self.complain)(format!("compiled code can't be kept: {}: {error}", path.display()));
        }
    }
}

/// What code for `engine` depends on beside its module: wasmtime's version and settings, the CPU, this format.
fn engine(engine: &wasmtime::Engine) -> String {
    struct Feed(blake3::Hasher);

    impl Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            let [a, b, c, d, e, f, g, h, ..] = *self.0.finalize().as_bytes();
            u64::from_le_bytes([a, b, c, d, e, f, g, h])
        }
    }

    let mut feed = Feed(blake3::Hasher::new());
    feed.write(&FORMAT.to_le_bytes());
    engine.precompile_compatibility_hash().hash(&mut feed);
    format!("{:016x}", feed.finish())
}

/// The engine's part of a file name that [`CacheKey::file`] has made.
fn engine_of(file: &str) -> Option<&str> {
    let (engine, module) = file.split_once('-')?;
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (engine.len() == 16 && module.len() == 64 && hex(engine) && hex(module)).then_some(engine)
}

/// What a file holds between its tag and the code: whose it is, the length of the origin, the origin.
fn head(owner: &Owner, origin: &Origin) -> Option<Vec<u8>> {
    let origin = serde_json::to_vec(origin).ok()?;
    let length = u32::try_from(origin.len()).ok()?;
    Some([owner.as_slice(), &length.to_le_bytes(), &origin].concat())
}

/// What follows the owner, as it was put together by this node: its tag was right.
fn artifact(engine: &wasmtime::Engine, content: &[u8]) -> Option<Artifact> {
    let (length, rest) = content.split_first_chunk::<4>()?;
    let (origin, code) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let origin = serde_json::from_slice(origin).ok()?;
    // SAFETY: `deserialize` runs what it is given, and needs the bytes of `serialize` of a compatible engine.
    // These are: their tag, over these bytes as they are in memory, was made with a key that only this node has, which
    // tags nothing else; the name that is part of it stands for the module and for all that the engine compiles by. It
    // is as good as the key is secret: see the head of this file.
    let code = unsafe { Code::deserialize(engine, code) }.ok()?;
    Some(Artifact { code, origin })
}

/// Reads a file up to `max_bytes`, and notes that it was used.
fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    (&file).take(max_bytes).read_to_end(&mut bytes)?;
    // On a disk that can't be written the order of use does not matter either.
    let _ = file.set_modified(SystemTime::now());
    Ok(bytes)
}

/// Writes a file beside its place, flushes it and renames it: a reader finds all of it or nothing.
fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let beside = path.with_extension(format!("{}.{UNFINISHED}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// All code in the folder, by the names of its files.
fn files(folder: &Path) -> io::Result<Vec<(String, Kept)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        if let Ok(name) = entry.file_name().into_string()
            && engine_of(&name).is_some()
            && let Ok(metadata) = entry.metadata()
        {
            // Of one that is too short for it, and will be found so when it is used, nobody knows.
            let owner = owner_of(&entry.path()).unwrap_or_default();
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((name, Kept { owner, bytes: metadata.len(), used }));
        }
    }
    Ok(files)
}

/// Whose a file says that it is; its tag is not looked at.
fn owner_of(path: &Path) -> io::Result<Owner> {
    let mut head = [0; TAG_BYTES + OWNER_BYTES];
    File::open(path)?.read_exact(&mut head)?;
    Ok(head.last_chunk().copied().unwrap_or_default())
}

/// The node's key: read, or drawn at random when there is none, or one that others could have written or read.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if let Some(key) = own_key(path)? {
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    write(path, &[&key])?;
    Ok(key)
}

/// The key at `path`, if it is a file of this user's own that nobody else may read.
fn own_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    // A link leads to where other users may write; opening a pipe would wait for its writer.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let facts = file.metadata()?;
    let own = facts.is_file() && facts.uid() == rustix::process::geteuid().as_raw() && facts.mode() & 0o077 == 0;
    if !own {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}
