//! What start functions print that run ahead of all calls. No instance prints it again, so it is printed once: when the
//! function that was deployed is tried.

use serde::{Deserialize, Serialize};

use super::console::Stream;

/// Most bytes that are kept; a module that prints more has no snapshot.
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
    /// A sentence when there is no room for it: the module can't have a snapshot.
    pub(crate) fn push(&mut self, stream: Stream, piece: &[u8]) -> Result<(), String> {
        // An empty piece takes room as well.
        self.bytes = self.bytes.saturating_add(piece.len()).saturating_add(1);
        if self.bytes > MAX_BYTES {
            return Err(format!("it prints more than {MAX_BYTES} bytes"));
        }
        self.pieces.push((stream, piece.to_vec()));
        Ok(())
    }

    /// The pieces, in their order.
    pub(crate) fn pieces(&self) -> &[(Stream, Vec<u8>)] {
        &self.pieces
    }
}
