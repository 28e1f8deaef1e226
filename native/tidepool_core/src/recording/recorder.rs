//! A tape while it is taped. What calls of most functions are given is short: it is copied into memory that all calls of the instance
//! share, which is less work than to count who holds it.

mod packed;

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bytes::{ROOM, Writer};
use super::entry::Entry;
use super::exchange::request::Head;
use super::exchange::streams::{Said, Stream};
use super::owner::Owner;
use super::taped::{Given, Share, TapedCall, Whence};
use crate::base::request::{Payload, ShortName};
use packed::{Mark, Packed};

/// Bytes of the longest tape that is kept, and so of the largest image.
const MAX_BYTES: usize = 32 << 20;
/// How many bytes a tape takes at a time, of those that all have together.
const CHARGE_BYTES: usize = 64 << 10;
const FIRST_CHARGE_BYTES: usize = 1 << 10;
/// Payloads of so many bytes are copied.
const SHORT_BYTES: usize = 256;
/// Memory of a tape that is kept for the thread's next one.
const SPARE_BYTES: usize = 1 << 20;

thread_local! {
    /// Memory of the last tape that ended on this thread.
    static SPARE: Cell<Option<Memory>> = const { Cell::new(None) };
}

/// What a tape has its calls in.
#[derive(Default)]
struct Memory {
    calls: Vec<Call>,
    texts: Vec<u8>,
    entries: Vec<u8>,
}

/// A call.
struct Call {
    /// Its operation, among the texts.
    operation: Range<usize>,
    payload: Kept,
    /// Bytes of its request's body that its guest was told.
    body: usize,
    /// Where its entries begin: they end where those of the next one do.
    from: Mark,
}

/// What it was given.
enum Kept {
    /// Bytes, among the texts.
    Short(Range<usize>),
    Given(Given),
}

/// What is taped of an instance.
pub(super) struct Recorder {
    whence: Whence,
    began: Instant,
    calls: Vec<Call>,
    /// Operations, and payloads that are short.
    texts: Vec<u8>,
    /// What it was told, before its first call and in its calls.
    entries: Packed,
    /// What it takes.
    bytes: usize,
    /// Growths of memory that there were in this call, or before the first.
    pub(super) growths: u64,
    /// Whether what sources say just now is told the guest by another way.
    pub(super) is_muted: bool,
    /// What of the node's bound it has, as its namespace's.
    charged: usize,
    owner: Arc<Owner>,
    /// The same as its function's, unless it is nobody's.
    share: Option<Box<dyn Share>>,
    /// Why there is no recording of it.
    lost: Option<&'static str>,
}

impl Recorder {
    pub(super) fn new(whence: Whence, share: Option<Box<dyn Share>>, owner: Arc<Owner>) -> Self {
        let Memory { calls, texts, entries } = SPARE.take().unwrap_or_default();
        let mut recorder = Recorder {
            whence,
            began: Instant::now(),
            calls,
            texts,
            entries: Packed::with(entries),
            bytes: 0,
            growths: 0,
            is_muted: false,
            charged: 0,
            owner,
            share,
            lost: None,
        };
        if recorder.image_bytes() > MAX_BYTES {
            recorder.lose("its instance has an image of more than 32 MiB");
        } else {
            recorder.charge(recorder.image_bytes());
        }
        recorder
    }

    /// Begins a call; its number.
    pub(super) fn begin(&mut self, operation: &ShortName, payload: &Payload) -> usize {
        self.growths = 0;
        if self.lost.is_some() {
            return 0;
        }
        let operation = self.text(operation);
        let given = match payload {
            Payload::Bytes(bytes) if bytes.len() <= SHORT_BYTES => Some(Kept::Short(self.text(bytes))),
            Payload::Exchange(exchange) => Head::of(exchange).map(|head| Kept::Given(Given::Request(Box::new(head)))),
            payload => Some(Kept::Given(Given::Payload(payload.clone()))),
        };
        let Some(payload) = given else {
            self.lose("its request was taken before");
            return 0;
        };
        let call = Call { operation, payload, body: 0, from: self.entries.end() };
        self.add(call.bytes());
        if self.lost.is_some() {
            return 0;
        }
        self.calls.push(call);
        self.calls.len() - 1
    }

    fn text(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.texts.len();
        self.texts.extend_from_slice(text);
        from..self.texts.len()
    }

    /// Bytes of the image that it begins with.
    pub(super) fn image_bytes(&self) -> usize {
        self.whence.size()
    }

    /// Is it lost, or longer than so many bytes and calls?
    pub(super) fn is_long(&self, bytes: usize, calls: usize) -> bool {
        self.is_lost() || self.bytes > bytes || self.calls.len() >= calls
    }

    /// How many calls there are.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// How old it is.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) fn note(&mut self, entry: impl FnOnce() -> Entry) {
        if self.is_muted || self.is_lost() {
            return;
        }
        let entry = entry();
        if let (Entry::Said(Stream::Request, Said::Bytes(body)), Some(call)) = (&entry, self.calls.last_mut()) {
            call.body = call.body.saturating_add(body.len());
        }
        let bytes = self.entries.push(entry);
        self.add(bytes);
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            self.lose("its tape is longer than 32 MiB");
        } else if self.read_bytes() > ROOM {
            self.lose("it takes more memory to read than a replay may have");
        }
        self.charge(self.bytes.saturating_add(self.image_bytes()));
    }

    /// Memory that it takes at least to read its recording: where many small entries are told, many times their bytes.
    fn read_bytes(&self) -> usize {
        let entries = self.entries.count().saturating_mul(2 * size_of::<Entry>());
        entries.saturating_add((self.calls.len() + 1).saturating_mul(2 * size_of::<TapedCall>()))
    }

    /// Takes as much of the node's bound as so many bytes, some at a time, for all threads count there; and of its function's memory.
    fn charge(&mut self, bytes: usize) {
        if bytes <= self.charged || self.is_lost() {
            return;
        }
        // Little at first: of very many processes each has a tape.
        let step = self.charged.clamp(FIRST_CHARGE_BYTES, CHARGE_BYTES);
        let more = bytes.saturating_sub(self.charged).next_multiple_of(step);
        if !self.owner.take_for_tapes(more) {
            return self.lose("all tapes of the node, or of its namespace, have what they may have together");
        }
        self.charged = self.charged.saturating_add(more);
        if self.share.as_mut().is_some_and(|share| !share.raise_to(self.charged)) {
            self.lose("there is no room for its tape in its function's memory on the host");
        }
    }

    /// Gives up on it for the memory that it has, if it has any: somebody else wants that.
    pub(super) fn gives_way(&mut self) -> bool {
        let has = self.share.as_ref().is_some_and(|share| share.has_some());
        if has {
            self.lose("its memory was wanted for its call");
        }
        has
    }

    /// Gives up on it.
    pub(super) fn lose(&mut self, why: &'static str) {
        self.lost.get_or_insert(why);
        self.whence = Whence::default();
        (self.calls, self.texts, self.entries) = Default::default();
        self.owner.give_back_of_tapes(std::mem::take(&mut self.charged));
        self.share = None;
    }

    /// What this call takes, in bytes; of one that was lost nothing.
    pub(super) fn bytes_of(&self, call: usize) -> usize {
        let Some(noted) = self.calls.get(call) else { return 0 };
        // What comes before the first call is kept with it.
        let (from, image) = if call == 0 { (Mark::default(), self.image_bytes()) } else { (noted.from, 0) };
        noted.bytes() + self.entries.bytes(from, self.end_of(call)) + image
    }

    /// What was asked in this call, and of how many bytes its payload was, or as far as its guest has read that the body of its request.
    /// What it was told is not looked at: that may be very much, and so may be what others were told before it.
    ///
    /// # Errors
    /// Why it is not to be kept.
    pub(super) fn asked(&self, call: usize) -> Result<(ShortName, Given, usize), &'static str> {
        if let Some(why) = self.lost {
            return Err(why);
        }
        let Some(noted) = self.calls.get(call) else { return Err("it is not on its tape") };
        let (operation, payload) = noted.asked(&self.texts);
        let payload_bytes = match &payload {
            Given::Payload(payload) => payload.size(),
            Given::Request(_head) => noted.body,
        };
        Ok((operation, payload, payload_bytes))
    }

    /// Bytes that a recording of this call has at least, without its tape's first `known` calls.
    pub(super) fn least_bytes(&self, call: usize, known: usize) -> usize {
        let (from, image) = match known {
            0 => (Mark::default(), self.image_bytes()),
            _ => (self.calls.get(known).map_or_else(|| self.entries.end(), |noted| noted.from), 0),
        };
        from.until(self.end_of(call)).saturating_add(image)
    }

    /// Writes what there is up to the end of this call, without its first `known` calls, and what comes before them if there are some;
    /// `false` when something in it means nothing elsewhere, or the tape is lost.
    pub(super) fn write(&self, call: usize, known: usize, writer: &mut Writer) -> bool {
        if self.is_lost() || call >= self.calls.len() {
            return false;
        }
        // Whoever begins a call waits meanwhile.
        writer.0.reserve(self.least_bytes(call, known));
        let mut is_complete = true;
        if known == 0 {
            let first = self.calls.first().map_or_else(Mark::default, |first| first.from);
            self.whence.write(writer);
            is_complete = self.entries.write(Mark::default(), first, writer);
        }
        // One that ended before another may come after it.
        writer.size((call + 1).saturating_sub(known));
        for (at, noted) in self.calls.iter().enumerate().take(call + 1).skip(known) {
            is_complete &= noted.write(&self.texts, writer);
            is_complete &= self.entries.write(noted.from, self.end_of(at), writer);
        }
        is_complete
    }

    /// Where the entries of this call end.
    fn end_of(&self, call: usize) -> Mark {
        self.calls.get(call + 1).map_or_else(|| self.entries.end(), |next| next.from)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.owner.give_back_of_tapes(self.charged);
        let (mut calls, mut texts) = (std::mem::take(&mut self.calls), std::mem::take(&mut self.texts));
        let entries = std::mem::take(&mut self.entries).into_memory();
        let bytes = calls.capacity() * size_of::<Call>() + texts.capacity() + entries.capacity();
        if bytes <= SPARE_BYTES {
            calls.clear();
            texts.clear();
            // A thread that ends needs none.
            let _ = SPARE.try_with(|spare| spare.set(Some(Memory { calls, texts, entries })));
        }
    }
}

impl Call {
    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        let given = match &self.payload {
            Kept::Short(text) => text.len(),
            Kept::Given(given) => given.size(),
        };
        size_of::<Call>() + self.operation.len() + given
    }

    /// What was asked.
    fn asked(&self, texts: &[u8]) -> (ShortName, Given) {
        let payload = match &self.payload {
            Kept::Short(range) => Given::Payload(Payload::Bytes(Bytes::copy_from_slice(text(texts, range)))),
            Kept::Given(given) => given.clone(),
        };
        (ShortName::from_slice(text(texts, &self.operation)), payload)
    }

    /// Writes that; `false` when it means nothing elsewhere.
    fn write(&self, texts: &[u8], writer: &mut Writer) -> bool {
        writer.bytes(text(texts, &self.operation));
        match &self.payload {
            Kept::Short(range) => {
                Given::write_bytes(text(texts, range), writer);
                true
            }
            Kept::Given(given) => given.write(writer),
        }
    }
}

/// One of the texts.
fn text<'t>(texts: &'t [u8], range: &Range<usize>) -> &'t [u8] {
    texts.get(range.clone()).unwrap_or_default()
}
