//! Making a project: a folder that was not there before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Kind, Language};

/// Why a project could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewError {
    /// Not a name that functions have.
    #[error(
        "`{name}` is no name of a function: 1 to 128 letters, digits, dots, dashes and underscores, and no dot or dash first; \
         a namespace goes before it in tidepool.toml, as in `name = \"shop/cart\"`"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// There is no template of that kind in that language.
    #[error("there is no template for {} in {}: take {}", .kind.title(), .language.title(), languages(*.kind))]
    NoTemplate {
        /// What was asked for.
        kind: Kind,
        /// In which language.
        language: Language,
    },
    /// Something of that name is there already.
    #[error("{path} is there already, and nothing in it is changed: take another name or folder")]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The system refuses it.
    #[error("{path} can't be written: {source}")]
    Unwritable {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes a project in a folder that is not there yet, and says which files it has.
///
/// # Errors
///
/// When the name is none, there is no such template, or something is there already, be it a link that leads nowhere.
pub(crate) fn make(language: Language, kind: Kind, name: &str, folder: &Path) -> Result<Vec<&'static str>, NewError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 128 || name.starts_with(['.', '-']) || !name.bytes().all(known) {
        return Err(NewError::Name { name: name.to_owned() });
    }
    let files = language.files(kind).ok_or(NewError::NoTemplate { kind, language })?;
    fs::create_dir(folder).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => NewError::Exists { path: folder.to_owned() },
        _ => NewError::Unwritable { path: folder.to_owned(), source },
    })?;
    let mut made = Vec::new();
    for (path, text) in files {
        let target = folder.join(path);
        write(&target, &text.replace("{{name}}", name).replace("{{wasi}}", language.wasi()))
            .map_err(|source| NewError::Unwritable { path: target, source })?;
        made.push(*path);
    }
    Ok(made)
}

fn languages(kind: Kind) -> String {
    kind.languages().map(Language::name).collect::<Vec<_>>().join(", ")
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create_new(path)?.write_all(text.as_bytes())
}
