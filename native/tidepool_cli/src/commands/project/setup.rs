//! `tidepool setup`: the compilers that projects of `tidepool new` need.

use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, Progress, Table};
use crate::project::Language;
use crate::toolchains::{Fetched, Toolchain, Toolchains};

/// `tidepool setup`
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The language
    #[arg(required_unless_present = "list")]
    language: Option<Language>,
    /// Remove what was fetched for the language
    #[arg(long)]
    remove: bool,
    /// List what was fetched, and where it is
    #[arg(long, conflicts_with_all = ["language", "remove"])]
    list: bool,
}

impl Setup {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        interrupt::heed();
        let toolchains = Toolchains::of_user();
        match self.language {
            None => list(&toolchains, context.output),
            Some(language) if self.remove => remove(&toolchains, language, context.output),
            Some(language) => fetch(&toolchains, language, context.output),
        }
    }
}

fn fetch(toolchains: &Toolchains, language: Language, output: Output) -> Result<(), Failure> {
    let progress = (!output.is_json()).then(|| Progress::of(format!("setting up {}", language.title())));
    let Fetched { place, was_there } = toolchains.fetch(language, &|text| output.note(text))?;
    drop(progress);
    let name = Toolchain::of(language).name();
    let value = json!({ "language": language.name(), "toolchain": name, "folder": place, "fetched": !was_there });
    let shown = place.display();
    Ok(output.say(&value, || {
        let how = if was_there { "is there already, in" } else { "is set up, in" };
        format!(
            "{} {how} {shown}; builds find it there.\nGo on with: tidepool new {} hello",
            language.title(),
            language.name()
        )
    })?)
}

fn remove(toolchains: &Toolchains, language: Language, output: Output) -> Result<(), Failure> {
    let toolchain = Toolchain::of(language);
    let removed = toolchains.remove(toolchain, &|text| output.note(text))?;
    let languages = titles(toolchain);
    Ok(output.say(&json!({ "toolchain": toolchain.name(), "removed": removed }), || match removed {
        true => format!("what was set up for {languages} is removed"),
        false => format!("nothing was set up for {languages}"),
    })?)
}

fn list(toolchains: &Toolchains, output: Output) -> Result<(), Failure> {
    let folder = toolchains.folder()?;
    let mut table = Table::new(&["tool chain", "compiles", "version"]);
    let mut values = Vec::new();
    for toolchain in Toolchain::ALL {
        let version = toolchains.version(toolchain)?;
        table.row([
            toolchain.name(),
            titles(toolchain),
            version.clone().unwrap_or_else(|| format!("- (tidepool setup {})", names(toolchain).join(" or "))),
        ]);
        values.push(json!({
            "toolchain": toolchain.name(),
            "languages": names(toolchain),
            "folder": toolchains.place(toolchain),
            "version": version.map_or(Value::Null, Value::String),
        }));
    }
    let value = json!({ "folder": folder, "toolchains": values });
    Ok(output.say(&value, || format!("{}\nin {}", table.text(), folder.display()))?)
}

fn names(toolchain: Toolchain) -> Vec<&'static str> {
    toolchain.languages().iter().map(|language| language.name()).collect()
}

fn titles(toolchain: Toolchain) -> String {
    toolchain.languages().iter().map(|language| language.title()).collect::<Vec<_>>().join(" and ")
}
