//! `tidepool completions`: for shells, from the definition of the command line.

use std::io::{self, Write};

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;

/// `tidepool completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command: clap::Command, context: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "tidepool", &mut script);
        if context.output.is_json() {
            let value = json!({ "shell": self.shell.to_string(), "script": String::from_utf8_lossy(&script) });
            return Ok(context.output.say(&value, String::new)?);
        }
        io::stdout().lock().write_all(&script)?;
        Ok(())
    }
}
