//! Why a command has no result.

use crate::error::InputError;
use crate::exit;
use crate::run::RunError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CliError {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            CliError::Input(_) => exit::INPUT,
            CliError::Run(_) => exit::INTERNAL,
        }
    }
}
