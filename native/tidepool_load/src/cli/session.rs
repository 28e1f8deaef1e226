//! A command and who started it: how it is stopped, and whether it is watched.

use std::io::IsTerminal;
use std::sync::Arc;

use super::error::CliError;
use crate::error::InputError;
use crate::run::Control;

/// A control that listens to Ctrl-C.
pub(super) fn control() -> Result<Arc<Control>, CliError> {
    let control = Control::new();
    control.stop_on_signals().map_err(|error| InputError::System(std::io::Error::other(error)))?;
    Ok(control)
}

/// Whether somebody watches standard error.
pub(super) fn watched(quiet: bool) -> bool {
    !quiet && std::io::stderr().is_terminal()
}
