//! Connections that are kept. A request that finds none free waits: that wait is part of its latency from the due time,
//! not of its exchange.

use std::cell::RefCell;

use tokio::sync::{Mutex, Semaphore};

use super::client::{Client, Sender};
use crate::record::Failure;
use crate::run::{Attempt, Clock};

/// The kept connections of one worker.
pub(super) enum Pool {
    /// One request at a time on each.
    Http1 {
        /// One permit per connection.
        free: Semaphore,
        /// Those that are open and unused.
        idle: RefCell<Vec<Sender>>,
    },
    /// Many requests on each, dealt out in turn. A slot is locked only while it is being connected.
    Http2(Vec<Mutex<Option<Sender>>>),
}

impl Pool {
    /// So many connections, opened when first needed and again when lost.
    pub(super) fn new(count: usize, http2: bool) -> Pool {
        // Fewer connections than workers: the others still need one to work at all.
        let count = count.max(1);
        if http2 {
            Pool::Http2((0..count).map(|_| Mutex::new(None)).collect())
        } else {
            Pool::Http1 { free: Semaphore::new(count), idle: RefCell::new(Vec::new()) }
        }
    }

    /// One request on one of them.
    pub(super) async fn attempt(&self, client: &Client, clock: Clock, n: u64) -> Attempt {
        match self {
            Pool::Http1 { free, idle } => {
                let Ok(_permit) = free.acquire().await else {
                    return Err(Failure::Other).into();
                };
                let began_ns = Some(clock.now_ns());
                let outcome = Self::one_at_a_time(client, idle, n).await;
                Attempt { began_ns, ended_ns: None, outcome }
            }
            Pool::Http2(slots) => {
                let index = usize::try_from(n / slots.len().max(1) as u64).unwrap_or(0) % slots.len().max(1);
                let Some(slot) = slots.get(index) else {
                    return Err(Failure::Other).into();
                };
                Self::beside_others(client, slot, n).await.into()
            }
        }
    }

    async fn one_at_a_time(client: &Client, idle: &RefCell<Vec<Sender>>, n: u64) -> Result<(), Failure> {
        let mut sender = loop {
            let kept = idle.borrow_mut().pop();
            match kept {
                Some(sender) if sender.is_open() => break sender,
                Some(_closed) => {}
                None => break client.connect(n).await?,
            }
        };
        let outcome = client.exchange(&mut sender).await;
        // A wrong answer leaves the connection good; anything else doesn't.
        if matches!(outcome, Ok(()) | Err(Failure::WrongStatus(_) | Failure::WrongContent)) {
            idle.borrow_mut().push(sender);
        }
        outcome
    }

    async fn beside_others(client: &Client, slot: &Mutex<Option<Sender>>, n: u64) -> Result<(), Failure> {
        let mut shared = {
            let mut slot = slot.lock().await;
            match &*slot {
                Some(Sender::Http2(sender)) if !sender.is_closed() => Sender::Http2(sender.clone()),
                _ => match client.connect(n).await? {
                    Sender::Http2(sender) => {
                        *slot = Some(Sender::Http2(sender.clone()));
                        Sender::Http2(sender)
                    }
                    http1 => http1,
                },
            }
        };
        client.exchange(&mut shared).await
    }
}
