//! What calls of a function may do with the network: all of a version are as one program.

use std::sync::Arc;

use super::node::Node;
use crate::abi::slots::State;
use crate::base::grants::Grants;
use crate::net::access::Access;
use crate::store::context::FunctionContext;

/// What a program of a function may do with the network.
pub(super) fn access(node: &Node, function: &FunctionContext) -> Access {
    let namespace = node.namespace(&function.name).map(|namespace| &namespace.network);
    Access::new(&node.network, &function.grants, &function.stats.function.network, namespace)
}

/// That of a version's calls, if anything is granted.
#[derive(Clone)]
pub(crate) struct Sockets {
    grants: Arc<Grants>,
    access: Option<Arc<Access>>,
}

impl Sockets {
    /// Those of a new version.
    pub(crate) fn new(node: &Node, function: &FunctionContext) -> Self {
        let grants = &function.grants;
        Sockets { grants: Arc::clone(grants), access: (!grants.is_empty()).then(|| Arc::new(access(node, function))) }
    }

    /// The same, counted with the others, for calls of another core: these don't share a count of users.
    pub(crate) fn apart(&self) -> Self {
        let access = self.access.as_ref().map(|access| Arc::new(access.apart()));
        Sockets { grants: Arc::clone(&self.grants), access }
    }

    /// Is anything granted?
    pub(super) fn are_granted(&self) -> bool {
        self.access.is_some()
    }

    /// Gives them to an instance.
    pub(super) fn give(&self, state: &mut State) {
        state.abi.access.clone_from(&self.access);
    }
}
