//! The load of one worker: each arrival is a request, on a connection of its own or on a kept one.

use std::rc::Rc;
use std::sync::Arc;

use super::HttpPlan;
use super::client::Client;
use super::pool::Pool;
use crate::net::{Net, TokioNet};
use crate::record::Failure;
use crate::run::{Attempt, Clock, Load};
use crate::units::nanos;

/// The load of one worker.
pub(super) struct HttpLoad {
    clock: Clock,
    client: Client,
    pool: Option<Pool>,
}

impl HttpLoad {
    /// A load on `kept` connections, or on a new one for each request.
    pub(super) fn new(clock: Clock, plan: Arc<HttpPlan>, kept: Option<usize>) -> HttpLoad {
        let pool = kept.map(|kept| Pool::new(kept, plan.http2));
        HttpLoad { clock, client: Client { plan }, pool }
    }

    async fn on_new_connection(&self, n: u64) -> Attempt {
        let outcome = async {
            let mut sender = self.client.connect(n).await?;
            self.client.exchange(&mut sender).await
        };
        outcome.await.into()
    }
}

impl Load for HttpLoad {
    async fn attempt(self: Rc<Self>, n: u64, start_ns: u64) -> Attempt {
        let late = self.clock.at(start_ns.saturating_add(nanos(self.client.plan.timeout)));
        let ended = TokioNet.before(late, async {
            match &self.pool {
                None => self.on_new_connection(n).await,
                Some(pool) => pool.attempt(&self.client, self.clock, n).await,
            }
        });
        ended.await.unwrap_or_else(|| Err(Failure::Timeout).into())
    }
}
