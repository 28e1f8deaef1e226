//! `tidepool new`: a project from what is in the tool.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::project::{Kind, Language, make};

/// `tidepool new`
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The language
    language: Language,
    /// The function's name
    name: String,
    /// The folder to make [default: one of the function's name]
    folder: Option<PathBuf>,
    /// A handler of HTTP, a component of `wasi:http`: rust, go, javascript (usual) or python (usual)
    #[arg(long, conflicts_with = "component")]
    http: bool,
    /// A component whose exports have the types of its WIT: rust, go, javascript or python
    #[arg(long)]
    component: bool,
}

impl New {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let folder = self.folder.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let kind = self.kind();
        let files = make(self.language, kind, &self.name, &folder)?;
        let value = json!({ "made": folder, "name": self.name, "files": files });
        let shown = folder.display();
        Ok(context.output.say(&value, || {
            let (program, language) = (self.language.program(), self.language.name());
            format!(
                "{shown} is made. It is built with {program}, which `tidepool setup {language}` brings.\n\
                 Go on with: cd {shown} && tidepool watch"
            )
        })?)
    }

    fn kind(&self) -> Kind {
        match (self.http, self.component) {
            (true, _) => Kind::Http,
            (_, true) => Kind::Component,
            _ => self.language.usual(),
        }
    }
}
