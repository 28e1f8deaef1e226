//! The way to other voters, of which a voter that is alone has none.

use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, Snapshot, Vote};

use super::types::{DiskId, Member, Types};

/// The network of a voter that is alone.
pub(super) struct Alone;

#[derive(Debug, thiserror::Error)]
#[error("a voter that is alone reaches no other")]
struct NoOther;

impl RaftNetworkFactory<Types> for Alone {
    type Network = Self;

    async fn new_client(&mut self, _target: DiskId, _member: &Member) -> Self {
        Alone
    }
}

impl RaftNetwork<Types> for Alone {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<DiskId>, RPCError<DiskId, Member, RaftError<DiskId>>> {
        Err(Unreachable::new(&NoOther).into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<DiskId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<DiskId>, RPCError<DiskId, Member, RaftError<DiskId>>> {
        Err(Unreachable::new(&NoOther).into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote<DiskId>,
        _snapshot: Snapshot<Types>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<DiskId>, StreamingError<Types, Fatal<DiskId>>> {
        Err(Unreachable::new(&NoOther).into())
    }
}
