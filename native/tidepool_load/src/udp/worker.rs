//! One worker's flows: pings when they are due, answers when they come, losses when the time is up.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::flow::{self, Flow, Matched, Open, Waiting};
use super::plan::UdpPlan;
use crate::content::DATAGRAM_LIMIT;
use crate::net::{Net, TokioNet};
use crate::record::Failure;
use crate::run::Worker;
use crate::units::nanos;

/// Pings sent in a row before answers get their turn.
const BATCH: u32 = 64;

/// The longest sleep: how soon a stop or a loss is noticed.
const NAP_NS: u64 = 20_000_000;

/// The shortest sleep while only answers are waited for.
const DRAIN_NAP_NS: u64 = 1_000_000;

/// How long what is under way gets to end after a Ctrl-C.
const AFTER_STOP: Duration = Duration::from_millis(200);

/// The next ping of a flow.
#[derive(Debug, Clone, Copy)]
struct Next {
    flow: u64,
    ping: u64,
    due_ns: u64,
}

/// A ping that is lost if it has no answer by then.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at_ns: u64,
    flow: u64,
    ping: u64,
}

struct Flows {
    worker: Worker,
    plan: Arc<UdpPlan>,
    /// This worker's flows: the one numbered `flow` is at `flow / workers`.
    flows: RefCell<Vec<Flow>>,
    /// All flows wait as long, so the deadlines are in order.
    deadlines: RefCell<VecDeque<Deadline>>,
    buffer: RefCell<Vec<u8>>,
}

/// Runs one worker of a UDP load.
///
/// # Errors
/// When the runtime can't be had.
pub(super) fn work(worker: &Worker, plan: &Arc<UdpPlan>) -> io::Result<()> {
    let mut ended = Ok(());
    TokioNet.run(async {
        let mine = plan.flows.saturating_sub(worker.index as u64).div_ceil(worker.workers as u64);
        let flows = Rc::new(Flows {
            worker: worker.clone(),
            plan: Arc::clone(plan),
            flows: RefCell::new((0..mine).map(|_| Flow::default()).collect()),
            deadlines: RefCell::default(),
            buffer: RefCell::new(vec![0; usize::try_from(DATAGRAM_LIMIT).unwrap_or(usize::MAX)]),
        });
        ended = flows.ping_all().await;
        worker.shard.lock().close();
    })?;
    ended
}

impl Flows {
    /// Sends every ping of every flow when it is due, then waits for the last answers.
    async fn ping_all(self: &Rc<Self>) -> io::Result<()> {
        let (worker, clock) = (&self.worker, self.worker.clock);
        let mut timer = TokioNet.timer()?;
        let length_ns = worker.plan.schedule.length_ns();
        let give_up_ns = length_ns.saturating_add(nanos(worker.plan.catch_up));
        let mut pings = Pings::new(Arc::clone(&self.plan), worker);
        let mut in_row = 0;
        while let Some(next) = pings.peek() {
            let now_ns = clock.now_ns();
            self.expire(now_ns);
            if worker.control.is_stopped() {
                break;
            }
            if now_ns < next.due_ns || now_ns == 0 {
                in_row = 0;
                let until_ns = next.due_ns.min(now_ns + NAP_NS);
                TokioNet.wait_until(&mut timer, clock.at(until_ns)).await?;
                continue;
            }
            let last = pings.advance();
            if now_ns > give_up_ns {
                worker.shard.lock().miss(next.due_ns);
                continue;
            }
            self.ping(next, last);
            in_row += 1;
            if in_row >= BATCH {
                in_row = 0;
                tokio::task::yield_now().await;
            }
        }
        let stopped_ns = clock.now_ns();
        while let Some(next) = pings.peek().filter(|next| next.due_ns <= stopped_ns) {
            worker.shard.lock().miss(next.due_ns);
            pings.advance();
        }
        let last_ns = stopped_ns.saturating_add(nanos(AFTER_STOP));
        while worker.shard.lock().is_busy(0) {
            let now_ns = clock.now_ns();
            if worker.control.is_stopped() && now_ns > last_ns {
                break;
            }
            self.expire(now_ns);
            TokioNet.wait_until(&mut timer, clock.at(now_ns + DRAIN_NAP_NS)).await?;
        }
        Ok(())
    }

    fn with_flow<T>(&self, flow: u64, act: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        let index = usize::try_from(flow / self.worker.workers as u64).ok()?;
        self.flows.borrow_mut().get_mut(index).map(act)
    }

    fn ping(self: &Rc<Self>, next: Next, last: bool) {
        let sent_ns = self.worker.clock.now_ns();
        self.worker.shard.lock().start(next.due_ns, sent_ns);
        let waiting = Waiting { ping: next.ping, due_ns: next.due_ns, sent_ns };
        let socket = self.with_flow(next.flow, |flow| flow.open.as_ref().map(|open| Rc::clone(&open.socket)));
        let sent =
            socket.flatten().map_or_else(|| self.open(next.flow), Ok).and_then(|socket| self.send(&socket, next));
        match sent {
            Ok(()) => {
                self.with_flow(next.flow, |flow| flow.waiting.push_back(waiting));
                self.deadlines.borrow_mut().push_back(Deadline {
                    at_ns: sent_ns.saturating_add(nanos(self.worker.plan.timeout)),
                    flow: next.flow,
                    ping: next.ping,
                });
            }
            Err(error) => self.finish(waiting, Err(Failure::from(error))),
        }
        if last {
            self.with_flow(next.flow, |flow| flow.leaving = true);
        }
    }

    /// Sends a ping. The system tells of an earlier ping's refusal on the next call: that one has failed, this one goes.
    fn send(&self, socket: &tokio::net::UdpSocket, next: Next) -> io::Result<()> {
        match flow::send(socket, &self.plan, next.ping) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                match self.with_flow(next.flow, |flow| flow.waiting.pop_front()).flatten() {
                    Some(earlier) => {
                        self.finish(earlier, Err(Failure::Refused));
                        flow::send(socket, &self.plan, next.ping)
                    }
                    None => Err(error),
                }
            }
            sent => sent,
        }
    }

    /// Gives a flow its socket and a task that reads from it.
    fn open(self: &Rc<Self>, flow: u64) -> io::Result<Rc<tokio::net::UdpSocket>> {
        let socket = Rc::new(flow::connect(&self.plan, flow)?);
        let (flows, read) = (Rc::clone(self), Rc::clone(&socket));
        let reader = tokio::task::spawn_local(async move {
            while read.readable().await.is_ok() {
                flows.receive(flow, &read);
            }
        });
        let open = Open { socket: Rc::clone(&socket), reader: reader.abort_handle() };
        self.with_flow(flow, |flow| flow.open = Some(open));
        Ok(socket)
    }

    /// Reads all datagrams that are there.
    fn receive(&self, flow: u64, socket: &tokio::net::UdpSocket) {
        let mut buffer = self.buffer.borrow_mut();
        loop {
            let matched = match socket.try_recv(&mut buffer) {
                Ok(read) => {
                    let datagram = buffer.get(..read).unwrap_or(&[]);
                    self.with_flow(flow, |flow| flow.answered(datagram, &self.plan.answer))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The system tells of a refusal on the next read; it was the oldest ping's.
                Err(error) => self
                    .with_flow(flow, |flow| flow.waiting.pop_front())
                    .flatten()
                    .map(|waiting| Matched::For(waiting, Err(Failure::from(error)))),
            };
            if let Some(Matched::For(waiting, outcome)) = matched {
                self.finish(waiting, outcome);
            }
        }
        drop(buffer);
        self.close_if_done(flow);
    }

    fn finish(&self, waiting: Waiting, outcome: Result<(), Failure>) {
        let now_ns = self.worker.clock.now_ns();
        self.worker.shard.lock().finish(waiting.due_ns, waiting.sent_ns, now_ns, outcome);
    }

    /// Counts the pings as lost whose time is up.
    fn expire(&self, now_ns: u64) {
        loop {
            let due = self.deadlines.borrow_mut().pop_front_if(|deadline| deadline.at_ns <= now_ns);
            let Some(deadline) = due else { return };
            if let Some(waiting) = self.with_flow(deadline.flow, |flow| flow.lost(deadline.ping)).flatten() {
                // A refusal that came after the last call on the socket is still there to be asked for.
                let refused = self.with_flow(deadline.flow, |flow| flow.is_refused()).unwrap_or(false);
                self.finish(waiting, Err(if refused { Failure::Refused } else { Failure::Lost }));
                self.close_if_done(deadline.flow);
            }
        }
    }

    /// Closes a flow that has left and waits for nothing.
    fn close_if_done(&self, flow: u64) {
        let closed =
            self.with_flow(flow, |flow| if flow.leaving && flow.waiting.is_empty() { flow.open.take() } else { None });
        drop(closed);
    }
}

/// A worker's pings in the order they are due.
///
/// All flows have the same period, so those that have joined come round in a fixed order: a queue is enough, and the
/// next to join is compared with its head.
struct Pings {
    plan: Arc<UdpPlan>,
    workers: u64,
    round: VecDeque<Next>,
    joining: Option<Next>,
}

impl Pings {
    fn new(plan: Arc<UdpPlan>, worker: &Worker) -> Pings {
        let mut pings = Pings { plan, workers: worker.workers as u64, round: VecDeque::new(), joining: None };
        pings.joining = pings.first_of(worker.index as u64);
        pings
    }

    fn first_of(&self, flow: u64) -> Option<Next> {
        let due_ns = (flow < self.plan.flows).then(|| self.plan.due_ns(flow, 0)).flatten()?;
        Some(Next { flow, ping: 0, due_ns })
    }

    fn joins_next(&self) -> bool {
        match (&self.joining, self.round.front()) {
            (Some(joining), Some(head)) => joining.due_ns <= head.due_ns,
            (joining, _) => joining.is_some(),
        }
    }

    fn peek(&self) -> Option<Next> {
        if self.joins_next() { self.joining } else { self.round.front().copied() }
    }

    /// Goes past the next ping; says whether it was its flow's last.
    fn advance(&mut self) -> bool {
        let current = if self.joins_next() {
            let current = self.joining;
            self.joining = current.and_then(|next| self.first_of(next.flow + self.workers));
            current
        } else {
            self.round.pop_front()
        };
        let Some(current) = current else { return true };
        match self.plan.due_ns(current.flow, current.ping + 1) {
            Some(due_ns) => {
                self.round.push_back(Next { ping: current.ping + 1, due_ns, ..current });
                false
            }
            None => true,
        }
    }
}
