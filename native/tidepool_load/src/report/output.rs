//! Files that appear whole or not at all: reserved before the run, so that a bad name is found then, put in place after.

use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Summary, html};
use crate::error::InputError;

/// A place for a report.
#[derive(Debug)]
pub(crate) struct Reserved {
    path: PathBuf,
    file: NamedTempFile,
}

impl Reserved {
    /// A file beside the one wanted, which goes away by itself if it is never put in place.
    pub(crate) fn new(path: &Path) -> Result<Reserved, InputError> {
        let unwritable = |source| InputError::Unwritable { path: path.to_owned(), source };
        if path.is_dir() {
            return Err(unwritable(std::io::ErrorKind::IsADirectory.into()));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".tidepool-load-")
            .permissions(permissions())
            .tempfile_in(parent)
            .map_err(unwritable)?;
        Ok(Reserved { path: path.to_owned(), file })
    }

    /// Writes it and puts it in place.
    pub(crate) fn fill(mut self, content: &str) -> Result<(), InputError> {
        let path = self.path;
        self.file
            .write_all(content.as_bytes())
            .and_then(|()| self.file.persist(&path).map(drop).map_err(|error| error.error))
            .map_err(|source| InputError::Unwritable { path, source })
    }
}

/// As any new file: the umask takes off what it should.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// The reports a run was asked for.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    json: Option<Reserved>,
    html: Option<Reserved>,
}

impl Outputs {
    /// Reserves a place for each.
    ///
    /// # Errors
    /// [`InputError::Unwritable`].
    pub(crate) fn reserve(json: Option<&Path>, html: Option<&Path>) -> Result<Outputs, InputError> {
        Ok(Outputs { json: json.map(Reserved::new).transpose()?, html: html.map(Reserved::new).transpose()? })
    }

    /// Writes them.
    ///
    /// # Errors
    /// [`InputError::Unwritable`].
    pub(crate) fn write(self, summary: &Summary) -> Result<(), InputError> {
        if let Some(json) = self.json {
            json.fill(&to_json(summary)?)?;
        }
        if let Some(html) = self.html {
            html.fill(&html::page(summary))?;
        }
        Ok(())
    }
}

/// Pretty JSON with a line end.
pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, InputError> {
    let mut text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    text.push('\n');
    Ok(text)
}
