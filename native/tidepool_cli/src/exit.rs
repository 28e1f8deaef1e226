//! The exit codes, which are part of the interface; docs/cli.md lists them.

/// It is done.
pub(crate) const DONE: u8 = 0;
/// The node or the registry refused it, or the function failed: unless the table of errors says otherwise of the reason.
pub(crate) const REFUSED: u8 = 1;
/// The command line, a file or `tidepool.toml` is not right; nothing was asked of a node.
pub(crate) const USAGE: u8 = 2;
/// No node or registry could be reached, or what answered is none.
pub(crate) const NO_NODE: u8 = 3;
/// A call that was replayed came to something else: 3 as of `mix tidepool.replay`, and nothing is said to be wrong then.
pub(crate) const DIFFERS: u8 = 3;
/// The project's build failed, or `setup` could bring no compiler.
pub(crate) const BUILD: u8 = 4;
/// Ended by Ctrl-C or SIGTERM.
pub(crate) const INTERRUPTED: u8 = 130;
