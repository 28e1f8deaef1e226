//! `tidepool keygen` and `tidepool sign`: who vouches for a module.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::context::{Context, read};
use crate::failure::Failure;
use crate::keys::PrivateKey;

/// `tidepool keygen`
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The file to make, with the private key
    file: PathBuf,
}

impl Keygen {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let public = PrivateKey::generate(&self.file)?.public();
        let file = self.file.display();
        context.output.note(&format!(
            "{file} has the private key; nodes with TIDEPOOL_DEPLOY_KEYS={public} deploy what it has signed, and nothing else"
        ));
        Ok(context.output.say(&json!({ "file": self.file, "public": public }), || public.clone())?)
    }
}

/// `tidepool sign`
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The module, or - for standard input
    file: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

impl Sign {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let module = read(&self.file)?;
        let signature = self.signing.of(&module)?.ok_or(Failure::NoKeyNamed)?;
        Ok(context.output.say(&json!({ "signature": signature }), || signature.clone())?)
    }
}

/// The key that signs, for all commands that deploy.
#[derive(Debug, Args)]
pub(crate) struct Signing {
    /// Sign the module with the private key in this file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Signing {
    /// Whether a key was named.
    pub(crate) fn is_named(&self) -> bool {
        self.key.is_some()
    }

    /// The signature of a module, if a key was named.
    ///
    /// # Errors
    ///
    /// When the key can't be used.
    pub(crate) fn of(&self, module: &[u8]) -> Result<Option<String>, Failure> {
        let key = self.key.as_ref().map(|path| PrivateKey::read(path)).transpose()?;
        Ok(key.map(|key| key.sign(module)))
    }
}
