//! What carries the words of voters: it loses them, has them come late, twice or in another order, and links are cut, one way or both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot;

use crate::replicated::rpc::{Asked, Question};
use crate::replicated::types::unpacked;
use crate::replicated::{Answering, Links};

/// Who is told what a question came to.
pub(super) type Tell = oneshot::Sender<Result<Vec<u8>, Arc<str>>>;

/// Words on their way.
pub(super) struct Letter {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) says: Says,
}

pub(super) enum Says {
    /// A question; who asks has another copy on its way if nobody is told.
    Question(Vec<u8>, Option<Tell>),
    Answer(Vec<u8>, Tell),
    /// To who has asked: nothing comes of it.
    Lost(Tell),
}

#[derive(Clone)]
pub(super) struct Network(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    now: u64,
    /// By when they come, and of those that come at one time by their numbers.
    letters: BTreeMap<(u64, u64), Letter>,
    number: u64,
    /// From whom nothing gets to whom.
    cut: BTreeSet<(usize, usize)>,
    /// Of how many words one is lost; 0 when none is.
    lost_of: u32,
    /// How often each has begun.
    starts: Vec<u64>,
}

impl Network {
    pub(super) fn new(hosts: usize, rng: Rng) -> Self {
        Network(Arc::new(Mutex::new(State {
            rng,
            now: 0,
            letters: BTreeMap::new(),
            number: 0,
            cut: BTreeSet::new(),
            lost_of: 0,
            starts: vec![0; hosts],
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has come by that time.
    pub(super) fn come(&self, now: u64) -> Vec<Letter> {
        let mut state = self.state();
        state.now = now;
        let later = state.letters.split_off(&(now + 1, 0));
        std::mem::replace(&mut state.letters, later).into_values().collect()
    }

    /// The links of one that begins; those that it had before carry nothing any more.
    pub(super) fn line(&self, from: usize) -> Line {
        self.end(from);
        Line { network: self.clone(), from, start: self.state().starts[from] }
    }

    /// Nothing comes any more from one as it is.
    pub(super) fn end(&self, of: usize) {
        self.state().starts[of] += 1;
    }

    pub(super) fn cut(&self, from: usize, to: usize) {
        self.state().cut.insert((from, to));
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.state().cut.contains(&(from, to))
    }

    /// Nothing gets to one, or from it.
    pub(super) fn isolate(&self, one: usize) {
        let mut state = self.state();
        for other in (0..state.starts.len()).filter(|other| *other != one) {
            state.cut.extend([(one, other), (other, one)]);
        }
    }

    /// Nothing gets from one side to the other, or back.
    pub(super) fn part(&self, side: &BTreeSet<usize>) {
        let mut state = self.state();
        for other in (0..state.starts.len()).filter(|other| !side.contains(other)) {
            for one in side {
                state.cut.extend([(*one, other), (other, *one)]);
            }
        }
    }

    pub(super) fn heal(&self) {
        self.state().cut.clear();
    }

    pub(super) fn lose(&self, one_of: u32) {
        self.state().lost_of = one_of;
    }

    /// Who has asked is told later that nothing comes of it: it takes a while until that is known.
    pub(super) fn fails(&self, from: usize, to: usize, tell: Tell) {
        let mut state = self.state();
        let late = state.rng.u64(1..400);
        state.send(from, to, Says::Lost(tell), late);
    }
}

impl State {
    fn send(&mut self, from: usize, to: usize, says: Says, late: u64) {
        self.number += 1;
        self.letters.insert((self.now + late, self.number), Letter { from, to, says });
    }

    /// How many ms words take.
    fn late(&mut self) -> u64 {
        let most = match self.rng.u8(..) {
            0 if self.lost_of > 0 => 800,
            1..=16 => 40,
            _most => 3,
        };
        1 + self.rng.u64(..most)
    }

    fn is_lost(&mut self) -> bool {
        self.lost_of > 0 && self.rng.u32(..self.lost_of) == 0
    }
}

/// The links of a voter, from one start of it.
pub(super) struct Line {
    network: Network,
    from: usize,
    start: u64,
}

/// The number of a node.
pub(super) fn number(node: &str) -> usize {
    node.trim_start_matches('n').parse().unwrap()
}

/// May a question come twice? One to the voter that leads comes once at most: what it refuses is not to be made afterwards.
fn may_come_twice(question: &[u8]) -> bool {
    unpacked::<Asked>(question).is_ok_and(|asked| !matches!(asked.question, Question::Lead(_)))
}

impl Links for Line {
    fn ask(&self, node: &str, question: Vec<u8>, _within: Duration) -> Answering {
        let (from, to) = (self.from, number(node));
        let (tell, told) = oneshot::channel();
        let mut state = self.network.state();
        if state.starts[from] == self.start {
            if state.is_lost() {
                let late = state.rng.u64(1..400);
                state.send(from, to, Says::Lost(tell), late);
            } else {
                if state.is_lost() && may_come_twice(&question) {
                    let late = state.late();
                    state.send(from, to, Says::Question(question.clone(), None), late);
                }
                let late = state.late();
                state.send(from, to, Says::Question(question, Some(tell)), late);
            }
        }
        drop(state);
        Box::pin(async { told.await.unwrap_or_else(|_ended| Err("it has ended".into())) })
    }
}

/// The way back of an answer.
pub(super) struct Back {
    pub(super) network: Network,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Which start of who answers.
    start: u64,
    tell: Option<Tell>,
}

impl Back {
    pub(super) fn new(network: &Network, from: usize, to: usize, tell: Option<Tell>) -> Self {
        let start = network.state().starts[from];
        Back { network: network.clone(), from, to, start, tell }
    }

    pub(super) fn answer(self, bytes: Vec<u8>) {
        let Back { network, from, to, start, tell: Some(tell) } = self else { return };
        let mut state = network.state();
        if state.starts[from] != start {
            return;
        }
        if state.is_lost() {
            let late = state.rng.u64(1..400);
            state.send(from, to, Says::Lost(tell), late);
        } else {
            let late = state.late();
            state.send(from, to, Says::Answer(bytes, tell), late);
        }
    }
}
