//! The logins that docker and others keep in `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::RegistryError;

/// The longest file of logins that is read.
const FILE_BYTES: u64 = 1 << 20;
/// Docker's own registry is called by three names.
const DOCKER: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What docker's `config.json` has of logins.
#[derive(Default, Deserialize)]
pub(crate) struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
}

#[derive(Deserialize)]
struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Logins {
    /// Those of the user: in the folder `DOCKER_CONFIG`, or in `~/.docker`. No file is no login.
    ///
    /// # Errors
    ///
    /// When there is a file that can't be read.
    pub(crate) fn of_user() -> Result<Self, RegistryError> {
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match folder("DOCKER_CONFIG").or_else(|| folder("HOME").map(|home| home.join(".docker"))) {
            Some(folder) => Self::read(&folder.join("config.json")),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, RegistryError> {
        let failed = |source| RegistryError::Logins { path: path.to_owned(), source };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
            Ok(size) if !size.is_file() || size.len() > FILE_BYTES => {
                return Err(failed(io::Error::other("it is no file of logins")));
            }
            Ok(_size) => {}
        }
        // What the parser says of a place in the file may show what is there.
        let none = |_error| failed(io::Error::other("it is not the JSON that `docker login` writes"));
        serde_json::from_slice(&fs::read(path).map_err(failed)?).map_err(none)
    }

    /// The header with the login for a registry.
    pub(crate) fn basic(&self, registry: &str) -> Option<String> {
        let login = self.auths.iter().find(|(key, _login)| one(key) == one(registry)).map(|(_key, login)| login)?;
        let both = match (&login.auth, &login.username, &login.password) {
            (Some(auth), _, _) if !auth.is_empty() => {
                String::from_utf8(BASE64_STANDARD.decode(auth).ok()?).ok().filter(|both| both.contains(':'))?
            }
            (_, Some(user), Some(password)) => format!("{user}:{password}"),
            _ => return None,
        };
        Some(format!("Basic {}", BASE64_STANDARD.encode(both)))
    }
}

/// Keys are hosts, or addresses of old ones, such as `https://index.docker.io/v1/`.
fn one(key: &str) -> String {
    let key = key.to_ascii_lowercase();
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(&key);
    let host = key.split('/').next().unwrap_or_default();
    if DOCKER.contains(&host) { DOCKER[0].to_owned() } else { host.to_owned() }
}

impl fmt::Debug for Logins {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Logins")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_any_name_of_its_registry_and_by_no_other() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"http://a:5000/v2/":{"username":"c","password":"d"},"e":{}},"credsStore":"x"}"#;
        let logins = serde_json::from_str::<Logins>(text).unwrap_or_default();
        for (registry, login) in
            [("docker.io", Some("Basic YTpi")), ("a:5000", Some("Basic Yzpk")), ("a", None), ("e", None)]
        {
            assert_eq!(logins.basic(registry).as_deref(), login, "{registry}");
        }
    }
}
