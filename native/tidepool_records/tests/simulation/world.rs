//! All nodes, what is between them, and the time.

use std::collections::BTreeSet;
use std::path::Path;

use fastrand::Rng;

use super::actor::{Actors, actors};
use super::defects::Defect;
use super::disk::{Health, Left};
use super::host::Host;
use super::model::{Model, Wrong};
use super::network::{Back, Letter, Network, Says};
use super::owner::Beside;
use super::{Plan, system};
use crate::replicated::Standing;

/// How far clocks may be apart, of a million: a lease that lasts 5 s counts as 4.75 s for who holds it.
const SKEW: u64 = 20_000;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) tick: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) network: Network,
    pub(super) actors: Actors,
    pub(super) model: Model,
    pub(super) is_quiet: bool,
    /// What was carried, and what was answered.
    pub(super) trace: blake3::Hasher,
    pub(super) letters: u64,
    pub(super) answers: u64,
    /// How often nodes ended, and how often their Raft had.
    ends: u64,
    stops: u64,
}

impl World {
    pub(super) fn new(plan: Plan, root: &Path) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let named: Vec<_> = (0..plan.voters).map(|index| format!("n{index}")).collect();
        let rates = (0..plan.voters + plan.others).map(|_each| 1_000_000 - SKEW + rng.u64(..=2 * SKEW));
        let hosts =
            rates.enumerate().map(|(index, rate)| Host::new(index, named.clone(), root, rate)).collect::<Vec<_>>();
        let network = Network::new(hosts.len(), rng.fork());
        if let Some(defect) = plan.defect {
            defect.is_there();
        }
        let actors = actors();
        let model = Model::new(actors.keys.len());
        World {
            plan,
            rng,
            tick: 0,
            hosts,
            network,
            actors,
            model,
            is_quiet: false,
            trace: blake3::Hasher::new(),
            letters: 0,
            answers: 0,
            ends: 0,
            stops: 0,
        }
    }

    /// A ms for all of them.
    pub(super) fn tick(&mut self) -> Result<(), Wrong> {
        self.tick += 1;
        for letter in self.network.come(self.tick) {
            self.deliver(letter);
        }
        for index in 0..self.hosts.len() {
            if self.hosts[index].starts_at.is_some_and(|at| at <= self.tick) {
                self.start(index)?;
            }
            let host = &mut self.hosts[index];
            if host.stands_until <= self.tick {
                host.run(self.tick);
            }
        }
        let mut handed = Vec::new();
        for host in self.hosts.iter_mut().filter(|host| host.stands_until <= self.tick) {
            host.step(&mut Beside {
                actors: &self.actors,
                model: &mut self.model,
                rng: &mut self.rng,
                is_quiet: self.is_quiet,
                defect: self.plan.defect,
                counted: &mut self.answers,
                handed: &mut handed,
            })?;
        }
        for (to, given) in handed.into_iter().filter(|_handed| self.plan.defect == Some(Defect::EarlyRead)) {
            self.hosts[super::network::number(&to)].takes(given);
        }
        self.no_two_own()
    }

    pub(super) fn ticks(&mut self, count: u64) -> Result<(), Wrong> {
        (0..count).try_for_each(|_each| self.tick())
    }

    fn start(&mut self, index: usize) -> Result<(), Wrong> {
        let host = &mut self.hosts[index];
        let started = host.start(self.tick, &self.network, self.plan.defect);
        match started {
            Ok(()) => Ok(()),
            // It is started again and again.
            Err(_for_now) if host.disk != Health::Well => {
                host.starts_at = Some(self.tick + 500);
                Ok(())
            }
            Err(error) => Err(format!("{} has lost power at most, and does not start: {error}", host.name)),
        }
    }

    fn deliver(&mut self, Letter { from, to, says }: Letter) {
        self.letters += 1;
        let (kind, bytes): (u8, &[u8]) = match &says {
            Says::Question(bytes, _tell) => (0, bytes),
            Says::Answer(bytes, _tell) => (1, bytes),
            Says::Lost(_tell) => (2, &[]),
        };
        self.trace.update(&self.tick.to_le_bytes()).update(&[from as u8, to as u8, kind]).update(bytes);
        let is_cut = self.network.is_cut(from, to);
        match says {
            Says::Lost(tell) => drop(tell.send(Err("the connection was lost".into()))),
            Says::Answer(_bytes, tell) if is_cut => self.network.fails(from, to, tell),
            Says::Answer(bytes, tell) => drop(tell.send(Ok(bytes))),
            Says::Question(bytes, tell) => match &self.hosts[to].open {
                Some((voter, _records)) if !is_cut => {
                    let back = Back::new(&self.network, to, from, tell);
                    voter.answer(&self.hosts[from].name, bytes.into(), move |answer| back.answer(answer));
                }
                _out_of_reach => {
                    if let Some(tell) = tell {
                        self.network.fails(to, from, tell);
                    }
                }
            },
        }
    }

    /// Has no shard two owners whose leases last?
    fn no_two_own(&mut self) -> Result<(), Wrong> {
        for index in 0..self.hosts.len() {
            if !std::mem::take(&mut self.hosts[index].owning.has_grown) {
                continue;
            }
            let owned = self.hosts[index].owns(self.tick);
            for other in self.hosts.iter().filter(|other| other.index != index) {
                let both: BTreeSet<_> = owned.intersection(&other.owns(self.tick)).copied().collect();
                if !both.is_empty() {
                    return Err(format!("{} and {} both own {both:?}", self.hosts[index].name, other.name));
                }
            }
        }
        Ok(())
    }

    /// Has nodes start again whose Raft has ended.
    pub(super) fn start_stopped(&mut self) {
        let is_stopped = |host: &&Host| matches!(host.standing(), Some(Standing::Stopped(_)));
        let stopped: Vec<_> = self.hosts.iter().filter(is_stopped).map(|host| host.index).collect();
        for index in stopped {
            self.stops += 1;
            self.end(index, Left::All, 500);
        }
    }

    /// Ends a node, which starts again after so many ms.
    pub(super) fn end(&mut self, index: usize, left: Left, for_ms: u64) {
        let host = &mut self.hosts[index];
        self.ends += u64::from(host.open.is_some());
        host.end(&self.network, left, &mut self.rng, self.plan.defect);
        host.stands_until = 0;
        host.starts_at = Some(self.tick + for_ms);
    }

    /// The node that leads, if there is one that has all others follow it.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = self.hosts.iter().filter(|host| host.leads());
        // One that was cut off may take itself for one.
        leads
            .max_by_key(|host| host.group().map(|group| group.raft.metrics().borrow().current_term))
            .map(|host| host.index)
    }

    /// Those that vote, as the one that leads knows.
    pub(super) fn voters(&self) -> BTreeSet<usize> {
        let Some(group) = self.leader().and_then(|leader| self.hosts[leader].group()) else { return BTreeSet::new() };
        let metrics = group.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        let voters: BTreeSet<_> = members.voter_ids().collect();
        members
            .nodes()
            .filter(|(disk, _)| voters.contains(*disk))
            .map(|(_, member)| super::network::number(&member.node))
            .collect()
    }

    /// Runs until each of the first nodes is a member.
    pub(super) fn found(&mut self) -> Result<(), Wrong> {
        for _each in 0..60_000 {
            self.tick()?;
            if self.hosts[..self.plan.voters].iter().all(|host| host.standing() == Some(Standing::Member)) {
                return Ok(());
            }
        }
        Err("no group has begun".into())
    }

    /// Words that were carried, timers that were waited for, and answers to what was asked of records.
    pub(super) fn steps(&self) -> u64 {
        self.letters + system::waits() + self.answers
    }

    pub(super) fn report(&self) -> String {
        format!(
            "trace {} s {} letters {} timers {} answers {} changes {} reads {} ends {} stops {}",
            self.trace.finalize().to_hex(),
            self.tick / 1_000,
            self.letters,
            system::waits(),
            self.answers,
            self.model.made,
            self.model.reads,
            self.ends,
            self.stops,
        )
    }
}
