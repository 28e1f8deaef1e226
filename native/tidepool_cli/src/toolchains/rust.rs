//! Rust: by rustup, into a folder apart from the user's own, or else what the distribution has, without root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;
use tempfile::Builder;

use super::SetupError;
use super::recipe::Recipe;

/// Counts the ways in which it has been fetched.
pub(crate) const RECIPE: &str = "2";

/// What rustup fetches; a distribution has one version or another.
pub(crate) const VERSION: &str = "1.95.0";

/// What projects are compiled for: those of waPC, those that become components, and what others call a component by itself.
pub(super) const TARGETS: [&str; 3] = ["wasm32-unknown-unknown", "wasm32-wasip1", "wasm32-wasip2"];

const NEEDS: &str = "it takes rustup, or apt-get and dpkg as Debian and Ubuntu have them; \
    rustup comes from where your system gets programs, as in, as root: apt-get install rustup";

/// What is fetched of Debian: compiler and libraries must lie in one tree, so what is installed already as well.
const PACKAGES: [&str; 4] = ["rustc", "cargo", "libstd-rust-dev", "libstd-rust-dev-wasm32"];

/// Where files for a while are that are large, on each Debian.
const OPEN: &str = "/var/tmp";

/// Fetches it.
pub(crate) fn fetch(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    let apt = || -> Result<bool, SetupError> {
        Ok(recipe.runs(recipe.command("apt-get").arg("--version"))?.is_some()
            && recipe.runs(recipe.command("dpkg").arg("--version"))?.is_some())
    };
    if recipe.runs(recipe.command("rustup").arg("--version"))?.is_some() {
        by_rustup(recipe)
    } else if apt()? {
        by_apt(recipe)
    } else {
        Err(SetupError::NoClient { what: recipe.what.clone(), needs: NEEDS })
    }
}

/// A tool chain of rustup's runs without rustup.
fn by_rustup(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    let home = recipe.scratch.join("rustup");
    let mut command = recipe.command("rustup");
    command.args(["toolchain", "install", VERSION, "--profile", "minimal", "--no-self-update"]);
    for target in TARGETS {
        command.args(["--target", target]);
    }
    command.env("RUSTUP_HOME", &home).env_remove("RUSTUP_TOOLCHAIN");
    recipe.run("rustup", &mut command)?;
    let fetched = found(&home.join("toolchains"), |name| name.starts_with(VERSION));
    if let [fetched] = fetched.as_slice() {
        let place = recipe.into.join("rust");
        fs::rename(fetched, &place).map_err(SetupError::at(&place))?;
    }
    recipe.expect("rust/bin/cargo")?;
    recipe.program("rustc", r#"exec "$here/rust/bin/rustc" "$@""#)?;
    recipe.program("cargo", "export RUSTC=\"${RUSTC:-$here/rust/bin/rustc}\"\nexec \"$here/rust/bin/cargo\" \"$@\"")
}

/// apt-get gets a cache of its own, and lists of its own when the machine's are missing or too old.
///
/// Root's apt-get fetches as a user who may do little else. That one needs a folder that it gets to, which root's home is not;
/// others' can't be anybody but them.
fn by_apt(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    let mut options = vec!["Debug::NoLocking=1".to_owned()];
    let open = if geteuid().is_root() {
        let folder = Builder::new().prefix("tidepool-apt-").tempdir_in(OPEN);
        Some(folder.map_err(SetupError::at(Path::new(OPEN)))?)
    } else {
        options.push("APT::Sandbox::User=root".to_owned());
        None
    };
    let cache = open.as_ref().map_or_else(|| recipe.scratch.join("apt"), |folder| folder.path().to_owned());
    for folder in [cache.clone(), cache.join("archives"), cache.join("lists")] {
        let made = fs::create_dir_all(&folder);
        // Whatever the user makes folders with.
        let made = made.and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o755)));
        made.map_err(SetupError::at(&folder))?;
    }
    options.push(format!("Dir::Cache={}", cache.display()));
    if let Err(error) = download(recipe, &options) {
        if !matches!(error, SetupError::NotFetched { .. } | SetupError::Partial { .. }) {
            return Err(error);
        }
        options.push(format!("Dir::State::lists={}", cache.join("lists").display()));
        recipe.run("apt-get", apt(recipe, "apt-get", &options).args(["-qq", "update"]))?;
        download(recipe, &options)?;
    }
    for package in found(&cache.join("archives"), |name| name.ends_with(".deb")) {
        recipe.run("dpkg", recipe.command("dpkg").arg("-x").arg(package).arg(&recipe.into))?;
    }
    recipe.expect("usr/bin/cargo")?;
    programs(recipe)
}

fn download(recipe: &Recipe<'_>, options: &[String]) -> Result<(), SetupError> {
    let depends = recipe.run("apt-cache", apt(recipe, "apt-cache", options).args(["depends", "lld"]))?;
    let is_linker = |name: &&str| name.strip_prefix("lld-").is_some_and(|version| version.parse::<u32>().is_ok());
    let linker = depends.split_whitespace().find(is_linker);
    let linker = linker.ok_or_else(|| SetupError::Partial { what: recipe.what.clone(), part: "linker" })?;
    let mut command = apt(recipe, "apt-get", options);
    command.args(["-qq", "-y", "install", "--reinstall", "--download-only", "--no-install-recommends"]);
    recipe.run("apt-get", command.args(PACKAGES).arg(linker)).map(drop)
}

fn apt(recipe: &Recipe<'_>, program: &str, options: &[String]) -> Command {
    let mut command = recipe.command(program);
    for option in options {
        command.args(["-o", option]);
    }
    command
}

/// Debian's programs expect their libraries, and the linker, where root would have put them.
fn programs(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    let name = |path: Option<&PathBuf>, part| {
        let name = path.and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
        name.ok_or_else(|| SetupError::Partial { what: recipe.what.clone(), part })
    };
    let libraries = found(&recipe.into.join("usr/lib"), |name| name.ends_with("-linux-gnu"));
    let libraries = name(libraries.first(), "usr/lib/*-linux-gnu")?;
    let linkers = found(&recipe.into.join("usr/bin"), |name| name.starts_with("wasm-ld-"));
    let linker = name(linkers.first(), "usr/bin/wasm-ld-*")?;
    let library =
        format!("export LD_LIBRARY_PATH=\"$here/usr/lib/{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n");
    recipe.program("rustc", &format!("unset RUSTC_BOOTSTRAP\n{library}exec \"$here/usr/bin/rustc\" \"$@\""))?;
    let version = recipe.run("rustc", recipe.command(recipe.into.join("bin/rustc")).arg("--version"))?;
    let sparse = if is_at_least(&version, SPARSE_REGISTRIES) { "" } else { SPARSE };
    let linkers = TARGETS.map(|target| {
        let variable = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        format!("export {variable}=\"${{{variable}:-$here/usr/bin/{linker}}}\"\n")
    });
    recipe.program(
        "cargo",
        &format!(
            "{library}{sparse}export RUSTC=\"${{RUSTC:-$here/bin/rustc}}\"\n{}exec \"$here/usr/bin/cargo\" \"$@\"",
            linkers.concat()
        ),
    )
}

/// What has cargo speak the registry's present protocol where it has that behind a flag. The compiler hears nothing of it.
const SPARSE: &str = "export RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_SPARSE_REGISTRY=true\n";

/// From this minor version on it has that without one.
const SPARSE_REGISTRIES: u32 = 68;

/// Whether a compiler's own words about its version name that minor version, or a later one. Words that name none may be of
/// any.
pub(super) fn is_at_least(words: &str, wanted: u32) -> bool {
    number(words).and_then(minor).is_none_or(|minor| minor >= wanted)
}

/// The number in a compiler's own words about its version.
pub(super) fn number(words: &str) -> Option<&str> {
    words.split_whitespace().nth(1).filter(|number| minor(number).is_some())
}

fn minor(number: &str) -> Option<u32> {
    number.split('.').nth(1)?.parse().ok()
}

/// What is in a folder with such a name, in order.
fn found(folder: &PathBuf, is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.filter(|entry| is_meant(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::{SPARSE_REGISTRIES, is_at_least};

    #[test]
    fn cargo_is_told_to_speak_the_protocol_of_registries_that_it_has_behind_a_flag_and_no_other_is() {
        let has_it = |words| is_at_least(words, SPARSE_REGISTRIES);
        assert!(!has_it("rustc 1.63.0 (built from a source tarball)"));
        assert!(["rustc 1.68.0", "rustc 1.95.0 (59807616e 2026-04-14)", ""].into_iter().all(has_it));
    }
}
