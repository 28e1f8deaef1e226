//! Writing an archive: beside its place, so that there is never half of one there.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{END, FORMAT, MAGIC, Moved, RECORD, VALUE};
use crate::record::{Key, StoreError, hasher};

/// An archive that is being written.
pub(crate) struct Writer {
    path: PathBuf,
    part: Part,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    moved: Moved,
}

/// Where it is written. What is left there when that ends before is of no use to anybody.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // One that is in its place has left this.
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Writer {
    /// Begins one.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when there is a file and it is not to be replaced, or what the system says.
    pub(crate) fn create(path: &Path, overwrite: bool) -> Result<Self, StoreError> {
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(StoreError::Taken(path.display().to_string().into()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = Part(part.into());
        // Whatever is in it is for nobody else to read.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part.0);
        let file = opened.map_err(|error| StoreError::file(&part.0, &error))?;
        let mut writer = Writer {
            path: path.into(),
            part,
            file: BufWriter::with_capacity(1 << 20, file),
            hasher: hasher("archive"),
            moved: Moved::default(),
        };
        writer.put(MAGIC)?;
        writer.put(&FORMAT.to_le_bytes())?;
        Ok(writer)
    }

    /// A record. Its values are to follow.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn record(
        &mut self,
        key: &Key,
        alarm_at: Option<i64>,
        head: &[u8],
        images: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        self.moved.count(&key.class);
        self.put(&[RECORD])?;
        self.bytes(key.class.as_bytes())?;
        self.bytes(key.name.as_bytes())?;
        self.put(&[u8::from(alarm_at.is_some())])?;
        self.put(&alarm_at.unwrap_or_default().to_le_bytes())?;
        self.bytes(head)?;
        self.put(&(images.len() as u64).to_le_bytes())?;
        images.iter().try_for_each(|image| self.bytes(image))
    }

    /// A value of the last record.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn value(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.put(&[VALUE])?;
        self.bytes(key)?;
        self.bytes(value)
    }

    /// Ends it: it is in its place when this returns, and survives a loss of power.
    ///
    /// # Errors
    /// What the system says. Then there is nothing in its place that was not there before.
    pub(crate) fn finish(mut self) -> Result<Moved, StoreError> {
        self.put(&[END])?;
        for count in [self.moved.records, self.moved.common] {
            self.put(&count.to_le_bytes())?;
        }
        let Writer { path, part, mut file, hasher, moved } = self;
        let in_place = || {
            file.write_all(hasher.finalize().as_bytes())?;
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            std::fs::rename(&part.0, &path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        in_place().map_err(|error| StoreError::file(&path, &error))?;
        Ok(moved)
    }

    /// What has a length, after that.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.put(&(bytes.len() as u64).to_le_bytes())?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|error| StoreError::file(&self.part.0, &error))
    }
}
