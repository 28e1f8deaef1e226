//! What answers a guest that is replayed, in place of clocks, random bytes and the host.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::entry::{Answer, Asked, Clock, Entry, Waited};
use super::exchange::streams::{Said, Stream};
use super::questions::{Questions, Told};
use super::taped::Taped;

/// How a recording is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The same module: it asks for the same things in the same order, or something is wrong.
    Exactly,
    /// Another version of it: what it asks the host is answered by what was asked, in whatever order; clocks and random bytes go on from
    /// where the recording ends.
    Against,
}

/// Where a replay and its recording part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unlike {
    /// The call, of those of the instance, from 0 on; `None` is before the first.
    pub(crate) call: Option<usize>,
    /// The entry in it, from 0 on.
    pub(crate) entry: usize,
    /// What was recorded there; `None` when it is the end of the call.
    pub(crate) recorded: Option<String>,
    /// What was asked for; `None` when nothing was.
    pub(crate) asked: Option<String>,
}

impl std::fmt::Display for Unlike {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |what: &Option<String>| what.clone().unwrap_or_else(|| "nothing more".into());
        write!(text, "the recording has {} here, and the guest asked for {}", told(&self.recorded), told(&self.asked))
    }
}

impl std::error::Error for Unlike {}

/// A recording while it is replayed.
pub(crate) struct Player {
    taped: Arc<Taped>,
    how: How,
    /// The call that runs; `None` before the first.
    call: Option<usize>,
    /// The next of its entries; where the order is free, the first that may be asked for yet.
    next: usize,
    /// Entries of this call that were asked for, where the order is free.
    used: Vec<bool>,
    /// What was asked of the host, where the order is free.
    questions: Box<Questions>,
    /// What else this call is told, where the order is free: no entry of it is passed to find that.
    told: Told,
    /// What is left of the random bytes that were come to, where the order is free.
    random: Bytes,
    /// The same of a request's body.
    body: Bytes,
    /// What clocks said last.
    last_ns: [u64; 2],
    growths: u64,
    unlike: Option<Unlike>,
}

/// Bytes of a subscription to an event, and of an event, in WASI's preview 1.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
/// How much later a clock is at each look that was not recorded.
const STEP_NS: u64 = 1_000;

impl Player {
    pub(crate) fn new(taped: Arc<Taped>, how: How, questions: Questions) -> Self {
        let used = Vec::new();
        let mut player = Player {
            taped,
            how,
            call: None,
            next: 0,
            used,
            questions: Box::new(questions),
            told: Told::default(),
            random: Bytes::new(),
            body: Bytes::new(),
            last_ns: [0, 0],
            growths: 0,
            unlike: None,
        };
        player.enter();
        player
    }

    /// Begins the next call; its number.
    pub(super) fn begin(&mut self) -> usize {
        self.finish();
        let call = self.call.map_or(0, |call| call + 1);
        self.call = Some(call);
        self.enter();
        call
    }

    /// Ends the last call: what was recorded and not asked for.
    pub(super) fn end(&mut self) -> Option<Unlike> {
        self.finish();
        self.unlike()
    }

    pub(super) fn unlike(&self) -> Option<Unlike> {
        self.unlike.clone()
    }

    /// Is the last call at the end of what it was told, or past it? Where the order is free nobody knows.
    pub(super) fn is_through(&self) -> bool {
        let is_last = self.call.map_or(0, |call| call + 1) >= self.taped.calls.len();
        self.how == How::Exactly && is_last && (self.next >= self.entries().len() || self.unlike.is_some())
    }

    pub(super) fn time(&mut self, clock: Clock) -> u64 {
        let is_it = |entry: &Entry| matches!(entry, Entry::Time { clock: it, .. } if *it == clock);
        let asked = || Entry::Time { clock, ns: 0 }.describe();
        let found = match self.how {
            How::Exactly => self.take(is_it, asked),
            How::Against => self.next_look(clock),
        };
        let last = match clock {
            Clock::Wall => &mut self.last_ns[0],
            Clock::Monotonic => &mut self.last_ns[1],
        };
        *last = match found {
            Some(Entry::Time { ns, .. }) => ns,
            _ => last.saturating_add(STEP_NS),
        };
        *last
    }

    pub(super) fn random(&mut self, bytes: &mut [u8]) {
        if self.how == How::Against {
            for byte in bytes {
                // As good as any, and the same each time.
                *byte = self.next_random().unwrap_or(0x5a);
            }
            return;
        }
        let size = bytes.len();
        let is_it = |entry: &Entry| matches!(entry, Entry::Random(it) if it.len() == size);
        if let Some(Entry::Random(recorded)) = self.take(is_it, || format!("{size} random bytes")) {
            bytes.copy_from_slice(&recorded);
        }
    }

    pub(super) fn answer(&mut self, asked: Option<Asked>) -> Result<Answer, Unlike> {
        let text = asked.as_ref().map_or_else(|| "what is not taped".into(), Asked::describe);
        let is_it = |entry: &Entry| matches!(entry, Entry::Answered { asked: it, .. } if Some(it) == asked.as_ref());
        let found = match (self.how, &asked) {
            (How::Exactly, _) => self.take(is_it, || text.clone()),
            (How::Against, Some(asked)) => {
                let found = self.questions.take(self.call, asked);
                found.and_then(|at| self.use_up(at)).filter(is_it)
            }
            (How::Against, None) => None,
        };
        match found {
            Some(Entry::Answered { answer, .. }) => Ok(answer),
            _ => Err(self.part(Some(text))),
        }
    }

    pub(super) fn wait(&mut self, subscriptions: &[u8]) -> Result<Waited, Unlike> {
        if self.how == How::Against {
            return Ok(elapsed(subscriptions));
        }
        match self.take(|entry| matches!(entry, Entry::Waited(_)), || "a wait".into()) {
            Some(Entry::Waited(waited)) => Ok(waited),
            _ => Err(self.part(Some("a wait".into()))),
        }
    }

    /// What a stream says, of `size` bytes at most; `None` when another version asks for what another run says as well.
    pub(super) fn said(&mut self, stream: Stream, size: usize) -> Result<Option<Said>, Unlike> {
        let asked = || Some(stream.describe().into());
        let is_it = |entry: &Entry| match entry {
            Entry::Said(it, Said::Bytes(bytes)) => *it == stream && bytes.len() <= size,
            Entry::Said(it, _said) => *it == stream,
            _ => false,
        };
        match (self.how, stream) {
            (How::Exactly, _) => match self.take(is_it, || stream.describe().into()) {
                Some(Entry::Said(_stream, said)) => Ok(Some(said)),
                _ => Err(self.part(asked())),
            },
            (How::Against, Stream::Request | Stream::Trailers) => {
                let [body, trailers] = self.told.ends;
                let end = if stream == Stream::Request { body } else { trailers };
                if stream == Stream::Request
                    && let Some(piece) = self.next_of_body(size)
                {
                    return Ok(Some(Said::Bytes(piece)));
                }
                match end.and_then(|at| self.entry(at)) {
                    Some(Entry::Said(_stream, said)) => Ok(Some(said.clone())),
                    // Nobody has asked for trailers that were there.
                    _ if stream == Stream::Trailers => Ok(Some(Said::Closed)),
                    _ => Err(self.part(asked())),
                }
            }
            (How::Against, Stream::Response | Stream::Awaited) => Ok(None),
        }
    }

    /// Was the next growth of memory refused? `is_refused` says whether this node has no room for it.
    pub(super) fn refuses(&mut self, is_refused: impl FnOnce() -> bool) -> bool {
        let growth = self.growths;
        self.growths += 1;
        let was_refused = self.was_refused(growth);
        if !was_refused && is_refused() {
            drop(self.part(Some("memory that this node has no room for".into())));
            return true;
        }
        was_refused
    }

    /// The same of what is refused by this number alone.
    pub(super) fn was_refused(&mut self, growth: u64) -> bool {
        let refused = self.how == How::Exactly
            && self.entries().get(self.next).is_some_and(|entry| *entry == Entry::Refused { growth });
        self.next += usize::from(refused);
        refused
    }

    /// The entry that is next; where it is another than is asked for, what is played and what was recorded part here.
    fn take(&mut self, is_it: impl Fn(&Entry) -> bool, asked: impl FnOnce() -> String) -> Option<Entry> {
        let found = self.entries().get(self.next).filter(|entry| self.unlike.is_none() && is_it(entry)).cloned();
        match found {
            Some(_) => self.next += 1,
            None => drop(self.part(Some(asked()))),
        }
        found
    }

    /// What a clock said at the next look at it that was recorded, where the order is free.
    fn next_look(&mut self, clock: Clock) -> Option<Entry> {
        let [wall, monotonic] = &mut self.told.looks;
        let at = if clock == Clock::Wall { wall.pop_front() } else { monotonic.pop_front() };
        self.use_up(at? as usize)
    }

    /// The next random byte that was recorded, where the order is free.
    fn next_random(&mut self) -> Option<u8> {
        if self.random.is_empty() {
            let at = self.told.random.pop_front()?;
            let Some(Entry::Random(bytes)) = self.entry(at) else { return None };
            self.random = bytes.clone();
        }
        self.random.try_get_u8().ok()
    }

    /// The next piece of a request's body, where the order is free.
    fn next_of_body(&mut self, size: usize) -> Option<Bytes> {
        if self.body.is_empty() {
            let at = self.told.body.pop_front()?;
            let Some(Entry::Said(_request, Said::Bytes(bytes))) = self.entry(at) else { return None };
            self.body = bytes.clone();
        }
        Some(self.body.split_to(size.min(self.body.len())))
    }

    /// An entry that is asked for, where the order is free: it is not asked for again.
    fn use_up(&mut self, at: usize) -> Option<Entry> {
        if let Some(used) = self.used.get_mut(at) {
            *used = true;
        }
        // All before the next one have been asked for.
        self.next += self.used.iter().skip(self.next).take_while(|used| **used).count();
        self.entries().get(at).cloned()
    }

    /// Notes where they part, if they have not parted before.
    pub(super) fn part(&mut self, asked: Option<String>) -> Unlike {
        let recorded = match self.how {
            How::Exactly => self.entries().get(self.next).map(Entry::describe),
            How::Against => None,
        };
        let unlike = Unlike { call: self.call, entry: self.next, recorded, asked };
        self.unlike.get_or_insert(unlike).clone()
    }

    /// Enters a call.
    fn enter(&mut self) {
        let entries = if self.how == How::Against { self.entries().len() } else { 0 };
        (self.told, self.used) = (self.questions.told(self.call), vec![false; entries]);
        (self.next, self.growths, self.random, self.body) = (0, 0, Bytes::new(), Bytes::new());
    }

    /// Leaves it, in which all has been asked for that was recorded, or where they part.
    fn finish(&mut self) {
        let left = match self.how {
            How::Exactly => (self.next < self.entries().len()).then_some(self.next),
            How::Against => {
                let mut answers = self.told.answers.iter().map(|at| *at as usize);
                answers.find(|at| self.used.get(*at) == Some(&false))
            }
        };
        if let Some(entry) = left.filter(|_| self.unlike.is_none()) {
            let recorded = self.entries().get(entry).map(Entry::describe);
            self.unlike = Some(Unlike { call: self.call, entry, recorded, asked: None });
        }
    }

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries().get(at as usize)
    }

    fn entries(&self) -> &[Entry] {
        match self.call {
            None => &self.taped.beginning,
            Some(call) => self.taped.calls.get(call).map_or(&[], |call| &call.entries),
        }
    }
}

/// The events of subscriptions to clocks whose time is over: a replay waits for nothing.
fn elapsed(subscriptions: &[u8]) -> Waited {
    let all = subscriptions.chunks_exact(SUBSCRIPTION);
    let happened = u32::try_from(all.len()).unwrap_or(0);
    let events = all.flat_map(|one| {
        let mut event = [0; EVENT];
        for (to, from) in event.iter_mut().zip(one.get(..8).unwrap_or_default()) {
            *to = *from;
        }
        if let (Some(to), Some(kind)) = (event.get_mut(10), one.get(8)) {
            *to = *kind;
        }
        event
    });
    Waited::Told { errno: 0, happened, events: events.collect() }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::base::request::ShortName;
    use crate::recording::taped::{Given, TapedCall};

    /// A replay by another version, in a call that was told this.
    fn player(entries: Vec<Entry>) -> Player {
        let call = TapedCall { operation: ShortName::new(), payload: Given::Payload(Bytes::new().into()), entries };
        let taped = Arc::new(Taped { calls: vec![call], ..Taped::default() });
        let questions = Questions::of(&taped);
        let mut player = Player::new(taped, How::Against, questions);
        player.begin();
        player
    }

    fn asked(number: u32) -> Asked {
        Asked::outside("here", &[&number.to_le_bytes()])
    }

    fn answered(question: u32, answer: u32) -> Entry {
        let answer = Answer::Bytes(Ok(answer.to_le_bytes().to_vec().into()));
        Entry::Answered { asked: asked(question), answer }
    }

    #[test]
    fn a_version_that_asks_in_another_order_is_answered_as_it_was_and_each_answer_is_given_once() {
        let mut player = player((0..1_000).map(|number| answered(number % 500, number)).collect());
        let mut answer = |question: u32| match player.answer(Some(asked(question))) {
            Ok(Answer::Bytes(Ok(bytes))) => bytes.first_chunk().map(|it| u32::from_le_bytes(*it)),
            _ => None,
        };
        for question in (0..500).rev() {
            assert_eq!([answer(question), answer(question)], [Some(question), Some(question + 500)]);
        }
        assert_eq!([answer(0), answer(500)], [None, None]);
    }

    #[test]
    fn what_another_version_was_told_is_come_to_as_it_is_asked_for_and_not_as_a_call_is_entered() {
        let random = |bytes: &'static [u8]| Entry::Random(Bytes::from_static(bytes));
        let body = |bytes: &'static [u8]| Said::Bytes(Bytes::from_static(bytes));
        let piece = |bytes: &'static [u8]| Entry::Said(Stream::Request, body(bytes));
        let mut player = player(vec![
            random(b"ab"),
            piece(b"one"),
            random(b""),
            answered(1, 2),
            random(b"c"),
            piece(b""),
            piece(b"two"),
            Entry::Said(Stream::Request, Said::Closed),
        ]);
        assert!(player.random.is_empty() && player.body.is_empty());
        let mut bytes = [0; 4];
        player.random(&mut bytes);
        assert_eq!(&bytes, b"abcZ");
        let mut said = |size| player.said(Stream::Request, size).unwrap_or_default();
        assert_eq!([said(2), said(9), said(9)], [&b"on"[..], b"e", b"two"].map(|bytes| Some(body(bytes))));
        assert_eq!([said(9), said(9)], [Some(Said::Closed), Some(Said::Closed)]);
        // What it did not ask.
        assert_eq!(player.end().and_then(|unlike| unlike.recorded), Some(answered(1, 2).describe()));
    }

    #[test]
    fn what_a_version_asks_for_takes_no_longer_however_much_was_recorded() {
        let took = |entries: u32| {
            let told = |number: u32| [Entry::Random(Bytes::from_static(b"r")), answered(number, number)];
            let mut player = player((0..entries / 2).flat_map(told).collect());
            let began = Instant::now();
            for number in 0..200_000_u32 {
                assert!(player.time(Clock::Monotonic) > 0);
                // What was asked last, first.
                let question = (entries / 2).wrapping_sub(1 + number);
                assert_eq!(player.answer(Some(asked(question))).is_ok(), number < entries / 2);
            }
            began.elapsed()
        };
        let (few, many) = (took(20), took(40_000));
        // Passing all of them each time takes hundreds of times as long.
        assert!(many < few * 30 + Duration::from_millis(100), "{many:?} of many, and {few:?} of few");
    }
}
