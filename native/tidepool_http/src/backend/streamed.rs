//! The body of an answer that comes in pieces, as hyper asks for it.

use crate::backend::channel::Reader;
use crate::connection::state::ConnectionState;
use bytes::Bytes;
use hyper::body::Frame;
use std::io::Error;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The body of an answer that comes in pieces.
pub(crate) struct Streamed {
    pub(crate) reader: Reader,
    pub(crate) connection: Arc<ConnectionState>,
}

impl Streamed {
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = self.reader.poll_piece(cx);
        if let Poll::Ready(Some(Ok(_))) = &piece {
            self.connection.piece_out();
        }
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.reader.is_whole()
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.connection.forget(&self.reader.0);
    }
}
