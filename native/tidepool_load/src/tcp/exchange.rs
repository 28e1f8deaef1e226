//! One connection from connect to close, on any runtime.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::{TcpPlan, socket};
use crate::content::Verdict;
use crate::net::Net;
use crate::record::Failure;
use crate::run::{Attempt, Clock, Load, Worker, drive};
use crate::units::nanos;

/// The load of one worker.
struct TcpLoad<N> {
    net: N,
    clock: Clock,
    plan: Arc<TcpPlan>,
}

/// Runs one worker of a TCP load.
///
/// # Errors
/// When the runtime can't be had.
pub(super) fn work<N: Net>(net: N, worker: &Worker, plan: &Arc<TcpPlan>) -> io::Result<()> {
    let load = TcpLoad { net, clock: worker.clock, plan: Arc::clone(plan) };
    drive(net, worker, || Rc::new(load))
}

impl<N: Net> Load for TcpLoad<N> {
    async fn attempt(self: Rc<Self>, n: u64, start_ns: u64) -> Attempt {
        let late = self.clock.at(start_ns.saturating_add(nanos(self.plan.timeout)));
        let ended = self.net.before(late, self.exchange(n)).await;
        let stream = match ended {
            None => return Err(Failure::Timeout).into(),
            Some(Err(failure)) => return Err(failure).into(),
            Some(Ok(stream)) => stream,
        };
        if self.plan.hold.is_zero() {
            drop(stream);
            return Ok(()).into();
        }
        let ended_ns = self.clock.now_ns();
        Attempt { began_ns: None, ended_ns: Some(ended_ns), outcome: self.hold(stream, ended_ns).await }
    }
}

impl<N: Net> TcpLoad<N> {
    /// Connects, sends and reads; gives back the open connection.
    async fn exchange(&self, n: u64) -> Result<N::Stream, Failure> {
        let plan = &*self.plan;
        let socket = socket::tcp(plan.target, &plan.sources, n, plan.linger0, true)?;
        let mut stream = self.net.connect(socket, plan.target).await?;
        if !plan.send.is_empty() {
            self.net.write_all(&mut stream, plan.send.clone()).await?;
        }
        let mut check = plan.expect.check();
        let mut verdict = check.verdict();
        let mut buffer = Vec::new();
        while verdict == Verdict::More {
            if buffer.is_empty() {
                buffer = vec![0; plan.expect.buffer_len()];
            }
            let (read, whole) = self.net.read(&mut stream, buffer).await;
            buffer = whole;
            verdict = check.take(buffer.get(..read?).unwrap_or(&[]));
        }
        if verdict == Verdict::Wrong { Err(Failure::WrongContent) } else { Ok(stream) }
    }

    /// Keeps a connection open for the time asked; it fails if the other end gives it up before.
    async fn hold(&self, mut stream: N::Stream, from_ns: u64) -> Result<(), Failure> {
        let until = self.clock.at(from_ns.saturating_add(nanos(self.plan.hold)));
        let watch = async {
            let mut buffer = vec![0; 1024];
            loop {
                let (read, whole) = self.net.read(&mut stream, buffer).await;
                buffer = whole;
                match read {
                    Ok(0) => return Failure::ClosedEarly,
                    Ok(_) => {}
                    Err(error) => return Failure::from(error),
                }
            }
        };
        match self.net.before(until, watch).await {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }
}
