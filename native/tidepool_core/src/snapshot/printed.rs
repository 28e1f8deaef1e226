//! What start functions print that run ahead of all calls. No instance prints it again, so it is printed once: when the
//! function that was deployed is tried.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::abi::output::Output;
use crate::console::Stream;
use crate::function::Shared;

/// Most bytes that are kept; who prints more does so in each instance.
const MAX_BYTES: usize = 64 << 10;

/// Pieces of output, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Printed {
    pieces: Vec<(Stream, Vec<u8>)>,
    bytes: usize,
}

impl Printed {
    /// Keeps a piece.
    ///
    /// # Errors
    /// When there is no room for it: the module can't have a snapshot.
    pub(super) fn push(&mut self, stream: Stream, piece: &[u8]) -> Result<(), Refusal> {
        // An empty piece takes room as well.
        self.bytes = self.bytes.saturating_add(piece.len()).saturating_add(1);
        if self.bytes > MAX_BYTES {
            return Err(Refusal::Failed { message: format!("it prints more than {MAX_BYTES} bytes") });
        }
        self.pieces.push((stream, piece.to_vec()));
        Ok(())
    }

    /// Prints all of it for a function.
    pub(crate) fn print(&self, shared: &Arc<Shared>) {
        let tail = Arc::default();
        let [stdout, stderr] = [Stream::Stdout, Stream::Stderr].map(|stream| Output::printed(shared, stream, &tail));
        for (stream, piece) in &self.pieces {
            match stream {
                Stream::Console => shared.print(Stream::Console, piece),
                Stream::Stdout => stdout.print(piece),
                Stream::Stderr => stderr.print(piece),
            }
        }
    }
}
