//! `tidepool.toml`.
//!
//! It names no node and no token: whoever builds a project that somebody sent runs its build command, and would with
//! those send their token to whom the project likes.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

/// The file that makes a folder a project.
pub(crate) const MANIFEST: &str = "tidepool.toml";

/// The longest of them, in bytes.
const MANIFEST_BYTES: u64 = 1 << 20;

/// Why a project's description can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// There is none, or it can't be read.
    #[error("there is no project here: {path} can't be read ({source}); make one with tidepool new")]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a file, or one of the wrong size.
    #[error("{path} is no file of at most {MANIFEST_BYTES} bytes")]
    NoFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// It does not say what it has to, or says something that nobody knows.
    #[error("{path}: {message}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A path that leads out of the project.
    #[error("tidepool.toml: `{key}` is \"{value}\", and has to be a path within the project")]
    Outside {
        /// Which entry.
        key: &'static str,
        /// What it says.
        value: String,
    },
    /// A pattern that is none.
    #[error("tidepool.toml: `watch`: {message}")]
    Glob {
        /// What is wrong with which.
        message: String,
    },
    /// A field that the tool sets itself, or one of a kind that no form can hold.
    #[error("tidepool.toml: [deploy] can't have `{field}`: {why}")]
    Field {
        /// Which one.
        field: String,
        /// Why not.
        why: &'static str,
    },
}

/// What a project says of itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The function's name.
    pub(crate) name: String,
    /// How it is built.
    pub(crate) build: BuildTable,
    /// The deploy's other fields, by the node's own names.
    #[serde(default)]
    deploy: toml::Table,
}

/// How a project is built.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuildTable {
    /// A line for the shell, run in the project's folder.
    pub(crate) command: String,
    /// The module that it makes, within the project.
    pub(crate) output: PathBuf,
    /// Which files it is made of.
    pub(crate) watch: Vec<String>,
    /// The world of WIT that the module is for, where it does not say so itself.
    pub(crate) world: Option<String>,
    /// The folder, or file, that has the world, within the project.
    #[serde(default = "wit")]
    pub(crate) wit: PathBuf,
    /// Whether what is to be a component becomes one, with the comments of its WIT.
    #[serde(default = "component")]
    pub(crate) component: bool,
}

/// Unless a project says otherwise, the tool makes its component.
fn component() -> bool {
    true
}

/// Where projects have their WIT.
fn wit() -> PathBuf {
    PathBuf::from("wit")
}

impl Manifest {
    /// Reads that of a folder.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not right.
    pub(crate) fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(MANIFEST);
        let unreadable = |source| ManifestError::Unreadable { path: path.clone(), source };
        let found = fs::metadata(&path).map_err(unreadable)?;
        if !found.is_file() || found.len() > MANIFEST_BYTES {
            return Err(ManifestError::NoFile { path });
        }
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        let manifest: Self = toml::from_str(&text)
            .map_err(|error| ManifestError::Invalid { path: path.clone(), message: error.to_string() })?;
        within("output", &manifest.build.output)?;
        within("wit", &manifest.build.wit)?;
        for glob in &manifest.build.watch {
            within("watch", Path::new(glob))?;
        }
        manifest.fields()?;
        Ok(manifest)
    }

    /// The fields of `[deploy]`, as the form has them: a list is a field for each of its elements, and a table is JSON.
    ///
    /// # Errors
    ///
    /// For what no form can hold.
    pub(crate) fn fields(&self) -> Result<Vec<(String, String)>, ManifestError> {
        let mut fields = Vec::new();
        for (name, value) in &self.deploy {
            let wrong = |why| ManifestError::Field { field: name.clone(), why };
            if name == "name" || name == "wasm" {
                return Err(wrong("it comes from `name` and `output`"));
            }
            if !crate::node::Form::is_name(name) {
                return Err(wrong("names of fields are letters, digits, dashes and underscores"));
            }
            let values = match value {
                toml::Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in values {
                let text =
                    text(value).ok_or_else(|| wrong("it is no text, number, boolean, table, or list of those"))?;
                fields.push((name.clone(), text));
            }
        }
        Ok(fields)
    }
}

fn text(value: &toml::Value) -> Option<String> {
    Some(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(boolean) => boolean.to_string(),
        toml::Value::Table(table) => serde_json::to_string(table).ok()?,
        toml::Value::Array(_) | toml::Value::Datetime(_) => return None,
    })
}

/// A path of a project leads nowhere else, however it is joined.
fn within(key: &'static str, path: &Path) -> Result<(), ManifestError> {
    let steps = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if steps && path.components().any(|part| matches!(part, Component::Normal(_))) {
        Ok(())
    } else {
        Err(ManifestError::Outside { key, value: path.display().to_string() })
    }
}
