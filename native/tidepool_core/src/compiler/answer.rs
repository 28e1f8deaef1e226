//! What a compiler answers, as it comes: code goes to the file that it is mapped from, and is nowhere else.

use std::io::{self, ErrorKind, Read};

use super::failure::Failure;
use super::file::CodeFile;
use super::wire::{Outcome, REPLY_BYTES, Reply};

/// What is read at once: what a pipe holds.
const PIECE_BYTES: usize = 64 << 10;
/// What is kept of a sentence.
const MAX_SENTENCE_BYTES: usize = 1 << 20;

/// What an answer brings beside its head.
pub(super) enum Body {
    /// Code.
    Code(CodeFile),
    /// A sentence, which says why there is none.
    Sentence(Vec<u8>),
}

/// An answer, as far as it has come.
pub(super) struct Answer {
    most_code_bytes: u64,
    piece: Vec<u8>,
    head: Vec<u8>,
    /// What the head says, once all of it has come.
    reply: Option<Reply>,
    body: Body,
    /// Bytes of the body that have yet to come.
    missing: u64,
}

impl Answer {
    /// One of which nothing has come. Code of more bytes than that is refused before any of it is read.
    pub(super) fn new(most_code_bytes: u64) -> Self {
        Answer {
            most_code_bytes,
            piece: vec![0; PIECE_BYTES],
            head: Vec::with_capacity(REPLY_BYTES),
            reply: None,
            body: Body::Sentence(Vec::new()),
            missing: 0,
        }
    }

    /// Reads what has come. Will nothing follow?
    ///
    /// # Errors
    /// [`Failure::Bound`] for more code than there may be; [`Failure::Broken`] when there is no room for it.
    pub(super) fn read(&mut self, from: &mut impl Read) -> Result<bool, Failure> {
        while !self.is_whole() {
            match from.read(&mut self.piece) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    let piece = std::mem::take(&mut self.piece);
                    let taken = self.take(piece.get(..count).unwrap_or_default());
                    self.piece = piece;
                    taken?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Has all of it come?
    pub(super) fn is_whole(&self) -> bool {
        self.reply.is_some() && self.missing == 0
    }

    /// The answer; `None` of one that has not come whole.
    pub(super) fn whole(self) -> Option<(Reply, Body)> {
        let is_whole = self.is_whole();
        self.reply.filter(|_| is_whole).map(|reply| (reply, self.body))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let of_head = REPLY_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at_checked(of_head).unwrap_or((bytes, &[]));
        self.head.extend_from_slice(head);
        if self.reply.is_none() {
            let Some(head) = self.head.first_chunk() else { return Ok(()) };
            self.begin(Reply::of_bytes(head))?;
        }
        // What follows an answer is none of it.
        let of_body = usize::try_from(self.missing).unwrap_or(usize::MAX).min(rest.len());
        let body = rest.get(..of_body).unwrap_or_default();
        self.missing -= u64::try_from(body.len()).unwrap_or(self.missing);
        match &mut self.body {
            Body::Code(file) => file.write(body).map_err(|error| no_room(&error)),
            Body::Sentence(sentence) => {
                let room = MAX_SENTENCE_BYTES.saturating_sub(sentence.len()).min(body.len());
                sentence.extend_from_slice(body.get(..room).unwrap_or_default());
                Ok(())
            }
        }
    }

    /// What is to come is known.
    fn begin(&mut self, reply: Reply) -> Result<(), Failure> {
        let most = self.most_code_bytes;
        if reply.outcome == Outcome::Code {
            if reply.bytes > most {
                return Err(Failure::Bound(format!(
                    "the {most} bytes that the code of all functions may take together (the setting max_code)"
                )));
            }
            self.body = Body::Code(CodeFile::new().map_err(|error| no_room(&error))?);
        }
        self.missing = reply.bytes;
        self.reply = Some(reply);
        Ok(())
    }
}

fn no_room(error: &io::Error) -> Failure {
    Failure::Broken(format!("there is no file in memory for the code of a module: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    const MOST: u64 = 1_000;

    /// What comes a piece at a time.
    struct Pieces<'a>(std::slice::Chunks<'a, u8>);

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.next() else { return Err(ErrorKind::WouldBlock.into()) };
            to.get_mut(..piece.len()).unwrap().copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn answer(outcome: Outcome, bytes: u64, body: &[u8]) -> Vec<u8> {
        [&*Reply { outcome, fingerprint: 7, bytes }.to_bytes(), body].concat()
    }

    #[test]
    fn an_answer_is_the_same_in_whatever_pieces_it_comes_and_is_none_before_its_end() {
        let sent = answer(Outcome::Refused, 5, b"worse");
        for length in 1..=sent.len() {
            let mut answer = Answer::new(MOST);
            assert!(!answer.read(&mut Pieces(sent.chunks(length))).unwrap());
            let (reply, body) = answer.whole().unwrap();
            assert_eq!((reply.outcome, reply.fingerprint), (Outcome::Refused, 7));
            assert!(matches!(body, Body::Sentence(it) if it == b"worse"));
        }
        for length in 0..sent.len() {
            let mut answer = Answer::new(MOST);
            assert!(answer.read(&mut sent.get(..length).unwrap()).unwrap(), "it has ended");
            assert!(answer.whole().is_none(), "{length}");
        }
    }

    #[test]
    fn more_code_than_there_may_be_is_refused_by_its_head_and_none_of_it_is_read() {
        let answer_of = |bytes| Answer::new(MOST).read(&mut answer(Outcome::Code, bytes, b"").as_slice());
        assert!(answer_of(MOST).is_ok());
        let refused = answer_of(MOST + 1);
        assert!(matches!(&refused, Err(Failure::Bound(what)) if what.contains("max_code")), "{:?}", refused.err());
    }

    #[test]
    fn a_sentence_without_an_end_is_read_to_its_end_and_kept_in_part() {
        let long = vec![b'x'; 3 * MAX_SENTENCE_BYTES];
        let sent = answer(Outcome::Broken, u64::try_from(long.len()).unwrap(), &long);
        let mut answer = Answer::new(MOST);
        answer.read(&mut sent.as_slice()).unwrap();
        assert!(matches!(answer.whole(), Some((_, Body::Sentence(kept))) if kept.len() == MAX_SENTENCE_BYTES));
    }
}
