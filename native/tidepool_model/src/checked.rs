//! The model: from each state to all that may come next, and what holds in each.

use stateright::{Model, Property};

use crate::node::Renewal;
use crate::store::Identity;
use crate::{COUNTED, Commit, Guards, Node, Step, Store};

/// How much the checker walks through.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// How many owners the shard may have had.
    pub epochs: u8,
    /// How often the counter is added to.
    pub adds: u8,
    /// How often nodes die, all together.
    pub deaths: u8,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// Somebody answered who was the owner no more.
    Deposed,
    /// Somebody wrote who was the owner no more.
    Late,
    /// An answer was older than one that was given before, or the same for two that added.
    Stale,
}

/// All nodes, the store, and what is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// By their number.
    pub nodes: Vec<Node>,
    /// The database.
    pub store: Store,
    /// Changes on their way; they may come late.
    pub commits: Vec<Commit>,
    /// The greatest answer that anybody has got.
    pub answered: u8,
    /// How often a call added.
    pub adds: u8,
    /// How many nodes have died.
    pub deaths: u8,
    /// What went wrong, if anything did.
    pub wrong: Option<Wrong>,
}

/// Who owns the shard.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// What is walked through.
    pub size: Size,
    /// What keeps the promises.
    pub guards: Guards,
}

impl Ownership {
    fn steps_of(&self, state: &State, at: usize, node: &Node, steps: &mut Vec<Step>) {
        let me = (at, node.incarnation);
        match node.renewal {
            None => steps.push(Step::Renew(at)),
            Some(Renewal { stored: false, .. }) => steps.push(Step::Renewed(at)),
            Some(Renewal { stored: true, .. }) => steps.extend([Step::Leased(at), Step::Lost(at)]),
        }
        if node.granted.is_some() {
            steps.push(Step::Granted(at));
        } else if node.left > 0 && node.owns.is_none() && node.handing.is_none() {
            if state.store.shard.owner == Some(me) {
                steps.push(Step::Look(at));
            } else if state.store.free_for(me, |of| node.over(of), self.guards)
                && state.store.shard.epoch < self.size.epochs
            {
                steps.push(Step::Claim(at));
            }
        }
        if node.owns.is_some() {
            steps.push(Step::Stop(at));
            match (node.memory, node.waiting) {
                (None, _) => steps.push(Step::Wake(at)),
                (Some(_), None) if state.adds < self.size.adds => steps.extend([Step::Read(at), Step::Add(at)]),
                (Some(_), None) => steps.push(Step::Read(at)),
                (Some(_), Some(waiting)) if waiting.taken == Some(true) => steps.push(Step::Answer(at)),
                (Some(_), Some(_)) => {}
            }
        }
        if node.handing.is_some() && state.store.shard.epoch < self.size.epochs {
            let others = (0..state.nodes.len()).filter(|to| *to != at);
            steps.extend(others.map(|to| Step::Hand { from: at, to: Some(to) }));
            steps.push(Step::Hand { from: at, to: None });
        }
        if state.deaths < self.size.deaths {
            steps.push(Step::Die(at));
        }
    }

    fn answer(&self, state: &mut State, me: Identity, value: u8, adds: bool) -> Option<()> {
        let node = state.nodes.get(me.0)?;
        if self.guards.gate && node.left == 0 {
            return None;
        }
        let owner = state.store.shard.owner == Some(me) && Some(state.store.shard.epoch) == node.owns;
        if !owner {
            state.wrong = Some(Wrong::Deposed);
        } else if value < state.answered + u8::from(adds) {
            state.wrong = Some(Wrong::Stale);
        }
        state.answered = state.answered.max(value);
        Some(())
    }

    fn decide(&self, state: &mut State, commit: Commit) -> Option<()> {
        state.commits.retain(|other| *other != commit);
        let owned = state.store.owned(commit);
        let taken = state.store.commit(commit, self.guards);
        if taken && !owned {
            state.wrong = Some(Wrong::Late);
        }
        let node = state.nodes.get_mut(commit.from.0)?;
        let waits = node.incarnation == commit.from.1 && node.owns == Some(commit.epoch);
        if let Some(waiting) = node.waiting.as_mut().filter(|waiting| waits && waiting.value == commit.value) {
            waiting.taken = Some(taken);
            if !taken {
                node.drop_actor();
                node.owns = None;
            }
        }
        Some(())
    }

    fn apply(&self, state: &mut State, at: usize, step: Step) -> Option<()> {
        let me = (at, state.nodes.get(at)?.incarnation);
        let node = state.nodes.get_mut(at)?;
        match step {
            Step::Tick { .. } | Step::Commit(_) => {}
            Step::Renew(_) => node.renewal = Some(Renewal { age: 0, slow: false, stored: false }),
            Step::Renewed(_) => {
                node.renewal.as_mut()?.stored = true;
                state.store.renew(at);
                node.see(&state.store.look(at));
            }
            Step::Leased(_) => {
                let renewal = node.renewal.take()?;
                if node.left == 0 && self.guards.lapse {
                    node.lapse(self.guards.tied);
                }
                let (age, slow) = if self.guards.before { (renewal.age, renewal.slow) } else { (0, false) };
                node.left = COUNTED.saturating_sub(age);
                node.slow = slow;
            }
            Step::Lost(_) => node.renewal = None,
            Step::Claim(_) => {
                state.store.give(Some(me), self.guards);
                node.granted = Some(state.store.shard.epoch);
            }
            Step::Look(_) => node.granted = Some(state.store.shard.epoch),
            Step::Granted(_) => {
                node.owns = node.granted.take();
                node.drop_actor();
            }
            Step::Wake(_) => node.memory = Some(state.store.value),
            Step::Add(_) => {
                state.adds += 1;
                state.commits.push(node.add(me)?);
                state.commits.sort_unstable();
            }
            Step::Answer(_) => {
                let value = node.waiting.take()?.value;
                self.answer(state, me, value, true)?;
            }
            Step::Read(_) => {
                let value = node.memory?;
                self.answer(state, me, value, false)?;
            }
            Step::Stop(_) => {
                node.handing = node.owns.take();
                node.drop_actor();
            }
            Step::Hand { to, .. } => {
                let epoch = node.handing.take();
                if state.store.shard.owner == Some(me) && Some(state.store.shard.epoch) == epoch {
                    let to = to.and_then(|to| Some((to, state.nodes.get(to)?.incarnation)));
                    state.store.give(to, self.guards);
                }
            }
            Step::Die(_) => {
                state.deaths += 1;
                *node = Node::new(node.incarnation + 1, node.unchanged.len());
                state.store.forget(at);
            }
        }
        Some(())
    }
}

impl Model for Ownership {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            nodes: vec![Node::new(0, self.size.nodes); self.size.nodes],
            store: Store::new(self.size.nodes),
            commits: Vec::new(),
            answered: 0,
            adds: 0,
            deaths: 0,
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Tick { slow: None });
        for (at, node) in state.nodes.iter().enumerate() {
            if node.may_be_slow() {
                steps.push(Step::Tick { slow: Some(at) });
            }
            self.steps_of(state, at, node, steps);
        }
        steps.extend(state.commits.iter().copied().map(Step::Commit));
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Tick { slow } => {
                for (at, node) in state.nodes.iter_mut().enumerate() {
                    node.tick(slow == Some(at));
                }
            }
            Step::Commit(commit) => self.decide(&mut state, commit)?,
            Step::Renew(at)
            | Step::Renewed(at)
            | Step::Leased(at)
            | Step::Lost(at)
            | Step::Claim(at)
            | Step::Look(at)
            | Step::Granted(at)
            | Step::Wake(at)
            | Step::Add(at)
            | Step::Answer(at)
            | Step::Read(at)
            | Step::Stop(at)
            | Step::Hand { from: at, .. }
            | Step::Die(at) => self.apply(&mut state, at, step)?,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one owner commits in an epoch", |_, state: &State| {
                let mut epochs = state.store.committed.iter().map(|(epoch, _)| epoch);
                let mut last = None;
                epochs.all(|epoch| last.replace(epoch) != Some(epoch))
            }),
            Property::always("only the owner writes", |_, state: &State| state.wrong != Some(Wrong::Late)),
            Property::always("who answers is the owner", |_, state: &State| state.wrong != Some(Wrong::Deposed)),
            Property::always("no answer is older than one before", |_, state: &State| {
                state.wrong != Some(Wrong::Stale)
            }),
            Property::always("what was answered is written", |_, state: &State| state.answered <= state.store.value),
            Property::sometimes("a shard with an answer goes on", |_, state: &State| {
                state.answered > 0 && state.store.shard.epoch > 1
            }),
            Property::sometimes("a node that lives takes over from one that is silent", |_, state: &State| {
                state.deaths == 0 && state.nodes.iter().filter(|node| node.owns.is_some()).count() > 1
            }),
        ]
    }
}
