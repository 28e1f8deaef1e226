//! The tape of an instance: taped as it goes, or played.
//!
//! Whoever asks a source for something that another run would be told otherwise asks the tape for it, and says how to ask the source.
//! While a call is recorded the source is asked, and what it said is kept; while one is replayed there is no source.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;

use super::bytes::Writer;
use super::entry::{Answer, Asked, Clock, Entry, Waited};
use super::outcome::Answered;
use super::owner::Owner;
use super::player::{Player, Unlike};
use super::recorder::Recorder;
use super::taped::{Given, Share, Whence};
use crate::base::request::exchange::Body;
use crate::base::request::{HostRequest, Payload, ShortName};

/// Calls after which an instance is let go, if its tape is some time old: a replay takes as long as they took.
const MAX_CALLS: usize = 512;
/// And after which it is in any case. To make another for each few short calls takes as long as to tape them.
const MAX_SHORT_CALLS: usize = 4 << 10;
/// So old. It is looked up once for so many calls.
const OLD: Duration = Duration::from_secs(1);
const LOOKED_UP: usize = 64;
/// Bytes of a tape, beside its image, from which on its instance is let go when its call is over.
const LONG_BYTES: usize = 4 << 20;
/// Calls after which the tape of an instance that is kept begins anew, with an image where there are such.
const KEPT_CALLS: usize = 64;
/// An image is worth a call for each so many of its bytes: making it takes some ms for each MiB.
const IMAGE_BYTES: usize = 4 << 10;

/// The tape of an instance, which its calls share.
pub(crate) struct Tape {
    /// Tells it from the others of this node.
    id: u64,
    is_playing: bool,
    /// Whether there will be no recording of it, which need not be so yet where there is none.
    is_lost: AtomicBool,
    /// Whether it was that long when its last call began.
    is_long: AtomicBool,
    state: Mutex<State>,
    /// The body of the response of a call that is replayed.
    pub(super) taken: Mutex<Option<Body>>,
}

/// The tape that an instance has at the time, for what outlives it: one that is kept gets another now and then.
#[derive(Clone)]
pub(crate) struct Reel(Arc<Mutex<Arc<Tape>>>);

impl Reel {
    /// That of an instance with this tape.
    pub(crate) fn of(tape: &Arc<Tape>) -> Self {
        Reel(Arc::new(Mutex::new(Arc::clone(tape))))
    }

    /// Changes the tape.
    pub(crate) fn change(&self, tape: &Arc<Tape>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(tape);
    }

    /// The tape.
    pub(crate) fn tape(&self) -> Arc<Tape> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        text.write_str("Tape")
    }
}

pub(super) enum State {
    Recording(Recorder),
    Playing(Player),
}

/// Is it so long that its instance had better be let go?
fn is_long(recorder: &Recorder) -> bool {
    let is_due = recorder.is_long(LONG_BYTES, MAX_CALLS);
    let is_looked_up = recorder.calls().is_multiple_of(LOOKED_UP);
    is_due && (recorder.is_long(LONG_BYTES, MAX_SHORT_CALLS) || is_looked_up && recorder.age() >= OLD)
}

/// Random bytes in place of `bytes`, which a tape may have.
pub(crate) fn fill(tape: Option<&Tape>, bytes: &mut [u8]) {
    let fill = |bytes: &mut [u8]| rand::rng().fill_bytes(bytes);
    match tape {
        Some(tape) => tape.random(bytes, fill),
        None => fill(bytes),
    }
}

/// A call's place on its instance's tape.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) tape: Arc<Tape>,
    call: usize,
    /// What it has responded, of a request of HTTP.
    response: OnceLock<Box<Answered>>,
}

impl Tape {
    /// One that is taped, and counted in that share, and as its owner's.
    pub(crate) fn recording(whence: Whence, share: Option<Box<dyn Share>>, owner: Arc<Owner>) -> Self {
        Tape::of(State::Recording(Recorder::new(whence, share, owner)))
    }

    /// One that is played.
    pub(crate) fn playing(player: Player) -> Self {
        Tape::of(State::Playing(player))
    }

    fn of(state: State) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let is_playing = matches!(state, State::Playing(_));
        let [is_lost, is_long] = [const { AtomicBool::new(false) }; 2];
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Tape { id, is_playing, is_lost, is_long, state: Mutex::new(state), taken: Mutex::default() }
    }

    /// Is it in vain to say what was asked and told?
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Is it played, and not taped?
    pub(crate) fn is_playing(&self) -> bool {
        self.is_playing
    }

    /// Begins a call; its place.
    pub(crate) fn begin(self: &Arc<Self>, operation: &ShortName, payload: &Payload) -> Place {
        let call = match &mut *self.state() {
            State::Recording(recorder) => {
                let call = recorder.begin(operation, payload);
                self.is_long.store(is_long(recorder), Ordering::Relaxed);
                call
            }
            State::Playing(player) => player.begin(),
        };
        Place { tape: Arc::clone(self), call, response: OnceLock::new() }
    }

    /// What a clock says, in ns.
    pub(crate) fn time(&self, clock: Clock, read: impl FnOnce() -> u64) -> u64 {
        match &mut *self.state() {
            State::Recording(recorder) => {
                let ns = read();
                recorder.note(|| Entry::Time { clock, ns });
                ns
            }
            State::Playing(player) => player.time(clock),
        }
    }

    /// Random bytes in place of `bytes`.
    pub(crate) fn random(&self, bytes: &mut [u8], fill: impl FnOnce(&mut [u8])) {
        match &mut *self.state() {
            State::Recording(recorder) => {
                fill(bytes);
                recorder.note(|| Entry::Random(Bytes::copy_from_slice(bytes)));
            }
            State::Playing(player) => player.random(bytes),
        }
    }

    /// What the host has answered, if that is on the tape; `None` when it is to be asked.
    ///
    /// # Errors
    /// When this was never asked.
    pub(crate) fn answered(&self, request: &HostRequest) -> Option<Result<Answer, Unlike>> {
        self.answered_to(|| Asked::of(request))
    }

    /// The same of something else that is asked.
    ///
    /// # Errors
    /// When this was never asked.
    pub(super) fn answered_to(&self, asked: impl FnOnce() -> Option<Asked>) -> Option<Result<Answer, Unlike>> {
        match &mut *self.state() {
            State::Recording(_) => None,
            State::Playing(player) => Some(player.answer(asked())),
        }
    }

    /// Keeps what the host has answered.
    pub(crate) fn keep_answer(&self, asked: Option<Asked>, answer: Option<Answer>) {
        if let State::Recording(recorder) = &mut *self.state() {
            match asked.zip(answer) {
                Some((asked, answer)) => recorder.note(|| Entry::Answered { asked, answer }),
                None => recorder.lose("it was told of a resource, or asked for what is not taped"),
            }
            if recorder.is_lost() {
                self.is_lost.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Gives up on a recording, for this reason.
    pub(crate) fn lose(&self, why: &'static str) {
        if let State::Recording(recorder) = &mut *self.state() {
            recorder.lose(why);
        }
    }

    /// Notes that the guest is to be told what no tape has a place for.
    ///
    /// # Errors
    /// When it is replayed: then there is nobody to tell it.
    pub(crate) fn untaped(&self, what: &'static str) -> Result<(), Unlike> {
        match &mut *self.state() {
            State::Recording(recorder) => {
                recorder.lose(what);
                Ok(())
            }
            State::Playing(player) => Err(player.part(Some(what.into()))),
        }
    }

    /// What came of a wait that is on the tape, whose subscriptions are these; `None` when there is to be one.
    pub(crate) fn waited(&self, subscriptions: &[u8]) -> Option<Result<Waited, Unlike>> {
        match &mut *self.state() {
            State::Recording(recorder) => {
                recorder.is_muted = true;
                None
            }
            State::Playing(player) => Some(player.wait(subscriptions)),
        }
    }

    /// Keeps what came of a wait.
    pub(crate) fn keep_wait(&self, waited: Waited) {
        if let State::Recording(recorder) = &mut *self.state() {
            recorder.is_muted = false;
            recorder.note(|| Entry::Waited(waited));
        }
    }

    /// Whether memory is refused that the instance's own limit allows; `is_refused` says so of one that is recorded.
    pub(crate) fn refuses(&self, mut is_refused: impl FnMut() -> bool) -> bool {
        match &mut *self.state() {
            State::Recording(recorder) => {
                // The tape goes before its guest does.
                let refused = is_refused() && (!recorder.gives_way() || is_refused());
                let growth = recorder.growths;
                recorder.growths += 1;
                if refused {
                    recorder.note(|| Entry::Refused { growth });
                }
                refused
            }
            State::Playing(player) => player.refuses(is_refused),
        }
    }

    /// Gives up on what is recorded, for the memory that it has; `false` when it has none.
    pub(crate) fn gives_way(&self) -> bool {
        match &mut *self.state() {
            State::Recording(recorder) => recorder.gives_way(),
            State::Playing(_) => false,
        }
    }

    /// Ends a replay: where it and what was recorded part, if they do. What was recorded and not asked for is such a place, too.
    pub(crate) fn end(&self) -> Option<Unlike> {
        match &mut *self.state() {
            State::Recording(_) => None,
            State::Playing(player) => player.end(),
        }
    }

    /// Where a replay and what was recorded have parted so far.
    pub(crate) fn unlike(&self) -> Option<Unlike> {
        match &*self.state() {
            State::Recording(_) => None,
            State::Playing(player) => player.unlike(),
        }
    }

    /// Has a replay been told all that was recorded?
    pub(crate) fn is_through(&self) -> bool {
        match &*self.state() {
            State::Recording(_) => false,
            State::Playing(player) => player.is_through(),
        }
    }

    /// Is it so long that its instance had better be let go?
    pub(crate) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Relaxed)
            || self.is_lost()
            || matches!(&*self.state(), State::Recording(recorder) if recorder.is_long(LONG_BYTES, MAX_SHORT_CALLS))
    }

    /// Is it so long that it had better begin anew, with an image of its instance?
    pub(crate) fn is_worth_an_image(&self) -> bool {
        match &*self.state() {
            State::Recording(recorder) => {
                let image = recorder.image_bytes();
                recorder.is_long(LONG_BYTES.max(image), KEPT_CALLS.max(image / IMAGE_BYTES).min(MAX_CALLS))
            }
            State::Playing(_) => false,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock that leaves half of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes what the call has responded.
    pub(crate) fn respond(&self, response: Answered) {
        self.response.get_or_init(|| Box::new(response));
    }

    /// What it has responded.
    pub(crate) fn response(&self) -> Option<Answered> {
        self.response.get().map(|response| Answered::clone(response))
    }

    /// Tells its tape from the others of this node.
    pub(super) fn tape_id(&self) -> u64 {
        self.tape.id
    }

    /// How many calls there are up to the end of this one.
    pub(super) fn calls(&self) -> usize {
        self.call + 1
    }

    /// What the call takes on its tape, in bytes; of one that was lost nothing.
    pub(super) fn bytes(&self) -> usize {
        match &*self.tape.state() {
            State::Recording(recorder) => recorder.bytes_of(self.call),
            State::Playing(_) => 0,
        }
    }

    /// What was asked, and of how many bytes its payload was.
    ///
    /// # Errors
    /// Why it is not to be kept.
    pub(super) fn asked(&self) -> Result<(ShortName, Given, usize), &'static str> {
        match &*self.tape.state() {
            State::Recording(recorder) => recorder.asked(self.call),
            State::Playing(_) => Err("it is replayed"),
        }
    }

    /// Bytes that its recording has at least, without its tape's first `known` calls.
    pub(super) fn least_bytes(&self, known: usize) -> usize {
        match &*self.tape.state() {
            State::Recording(recorder) => recorder.least_bytes(self.call, known),
            State::Playing(_) => 0,
        }
    }

    /// Writes what is on the tape up to the end of this call, without its first `known` calls, and what comes before them if there are
    /// some; `false` when that is not to be kept.
    pub(super) fn write(&self, known: usize, writer: &mut Writer) -> bool {
        match &*self.tape.state() {
            State::Recording(recorder) => recorder.write(self.call, known, writer),
            State::Playing(_) => false,
        }
    }
}
