//! `tidepool push`: a module into a registry, from where nodes fetch it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::project::build::{Project, build};
use crate::context::{Context, read};
use crate::failure::Failure;
use crate::output::{Progress, bytes};
use crate::project::{Manifest, module};
use crate::registry::{Logins, Reference, Registry, RegistryError};

/// `tidepool push`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Where to: oci://HOST/NAME:TAG
    #[arg(value_name = "REF")]
    reference: String,
    /// A module, or - for standard input; without one the project is built and pushed
    file: Option<PathBuf>,
    #[command(flatten)]
    project: Project,
    /// Push what the last build of the project has made
    #[arg(long, conflicts_with = "file")]
    no_build: bool,
    /// Speak to the registry without TLS, as to those of this machine if it is not =false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    plain_http: Option<bool>,
}

impl Push {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let reference = Reference::parse(&self.reference)?;
        let (authorities, timeout) = (context.authorities()?, context.patience());
        let registry = Registry::new(reference.clone(), &Logins::of_user()?, self.plain_http, authorities, timeout);
        let module = self.module(context)?;
        let digest = {
            let _progress = (!context.output.is_json()).then(|| Progress::of("pushing".to_owned()));
            registry.push(&module)?
        };
        let pushed = format!("{reference}@{digest}");
        let value = json!({ "ref": pushed, "digest": digest, "size": module.len() });
        Ok(context.output.say(&value, || format!("{pushed} ({})", bytes(module.len() as u64)))?)
    }

    fn module(&self, context: &Context) -> Result<Vec<u8>, Failure> {
        let folder = &self.project.project;
        match &self.file {
            Some(file) => {
                let bytes = read(file)?;
                if bytes.starts_with(b"\0asm") { Ok(bytes) } else { Err(RegistryError::NoModule.into()) }
            }
            None if self.no_build => Ok(module(folder, &Manifest::read(folder)?)?),
            None => Ok(build(context.output, folder, &Manifest::read(folder)?)?.wasm),
        }
    }
}
