//! Reading an archive: first all of it for its digest, and only then what is in it.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{DIGEST, END, FORMAT, HEAD, MAGIC, Moved, RECORD, VALUE};
use crate::record::{Key, StoreError, hasher};

/// An archive that is whole.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    /// Of what was read since it was found whole: somebody may write to it meanwhile.
    hasher: blake3::Hasher,
    digest: blake3::Hash,
}

/// What is read next.
pub(crate) enum Entry {
    Record { key: Key, alarm_at: Option<i64>, head: Vec<u8>, images: Vec<Vec<u8>> },
    Value(Vec<u8>, Vec<u8>),
    End(Moved),
}

impl Reader {
    /// Opens one, and looks whether all of it is as it was written.
    ///
    /// # Errors
    /// [`StoreError::Torn`] when it is not, [`StoreError::Newer`], or what the system says.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::file(path, &error);
        let torn = || StoreError::Torn(path.display().to_string().into());
        let file = File::open(path).map_err(failed)?;
        let checked = file.metadata().map_err(failed)?.len().checked_sub(DIGEST as u64).ok_or_else(torn)?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut head = [0; HEAD];
        let mut whole = hasher("archive");
        {
            let mut all = (&mut file).take(checked);
            all.read_exact(&mut head).map_err(|_short| torn())?;
            let (magic, format) = head.split_at(MAGIC.len());
            if magic != MAGIC {
                return Err(torn());
            }
            let found = format.iter().rev().fold(0, |number, byte| number << 8 | i64::from(*byte));
            if found != FORMAT.into() {
                return Err(StoreError::Newer { found, known: FORMAT.into() });
            }
            whole.update(&head).update_reader(&mut all).map_err(failed)?;
        }
        let mut digest = [0; DIGEST];
        file.read_exact(&mut digest).map_err(|_short| torn())?;
        let digest = blake3::Hash::from_bytes(digest);
        if whole.finalize() != digest {
            return Err(torn());
        }
        file.seek(SeekFrom::Start(HEAD as u64)).map_err(failed)?;
        let mut hasher = hasher("archive");
        hasher.update(&head);
        Ok(Reader { path: path.into(), file, hasher, digest })
    }

    /// The next entry. Nothing is to be read after the end; that all was read as it was found is known then.
    ///
    /// # Errors
    /// [`StoreError::Torn`] when it was changed meanwhile, or what the system says.
    pub(crate) fn next(&mut self) -> Result<Entry, StoreError> {
        match self.array()? {
            [RECORD] => {
                let key = Key { class: self.text()?, name: self.text()? };
                let [has_alarm] = self.array()?;
                let alarm_at = i64::from_le_bytes(self.array()?);
                let head = self.bytes()?;
                let images = (0..self.number()?).map(|_| self.bytes()).collect::<Result<_, _>>()?;
                Ok(Entry::Record { key, alarm_at: (has_alarm != 0).then_some(alarm_at), head, images })
            }
            [VALUE] => Ok(Entry::Value(self.bytes()?, self.bytes()?)),
            [END] => {
                let moved = Moved { records: self.number()?, common: self.number()? };
                if self.hasher.finalize() == self.digest { Ok(Entry::End(moved)) } else { Err(self.torn()) }
            }
            _ => Err(self.torn()),
        }
    }

    /// It is not what it says.
    pub(super) fn torn(&self) -> StoreError {
        StoreError::Torn(self.path.display().to_string().into())
    }

    fn text(&mut self) -> Result<String, StoreError> {
        String::from_utf8(self.bytes()?).map_err(|_bytes| self.torn())
    }

    /// What has a length: no more room is taken than there are bytes.
    fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        let length = self.number()?;
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(length).read_to_end(&mut bytes);
        read.map_err(|error| StoreError::file(&self.path, &error))?;
        self.hasher.update(&bytes);
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(self.torn()) }
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut array = [0; N];
        self.file.read_exact(&mut array).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.torn(),
            _ => StoreError::file(&self.path, &error),
        })?;
        self.hasher.update(&array);
        Ok(array)
    }
}
