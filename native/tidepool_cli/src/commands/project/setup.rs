//! `tidepool setup`: the compilers that projects of `tidepool new` need.

use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, Progress, Table};
use crate::project::Language;
use crate::toolchains::{Fetched, Targets, Toolchain, Toolchains};

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
    let lacks = lacks_for_components(toolchains, language)?;
    let name = Toolchain::of(language).name();
    let mut value = json!({ "language": language.name(), "toolchain": name, "folder": place, "fetched": !was_there });
    if let (Language::Rust, Some(members)) = (language, value.as_object_mut()) {
        members.insert("components".to_owned(), lacks.is_none().into());
    }
    let shown = place.display();
    Ok(output.say(&value, || {
        let how = if was_there { "is there already, in" } else { "is set up, in" };
        let lacks = lacks.map(|lacks| format!("\n{lacks}.")).unwrap_or_default();
        format!(
            "{} {how} {shown}; builds find it there.{lacks}\nGo on with: tidepool new {} hello",
            language.title(),
            language.name()
        )
    })?)
}

/// What Rust lacks for components where it is a distribution's. Other languages' compilers are fetched for them.
fn lacks_for_components(toolchains: &Toolchains, language: Language) -> Result<Option<String>, Failure> {
    if language != Language::Rust {
        return Ok(None);
    }
    let version = toolchains.version(Toolchain::of(language))?.unwrap_or_default();
    let targets = Targets::of(&toolchains.path()).map_err(|_| Failure::Interrupted)?;
    Ok(targets.lacks_for_components(&version))
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
