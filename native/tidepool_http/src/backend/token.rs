//! What a token is that the backend has made, as both sides know it.

/// The SHA-256 of a secret.
pub type Hash = [u8; 32];

/// What a request needs, and a token may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To look at what not everybody may see.
    Read,
    /// To call functions and actors, and to start processes.
    Call,
    /// To change what is deployed.
    Deploy,
    /// All of it, and what is of the server.
    Admin,
}

impl Scope {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Call => "call",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Read, Self::Call, Self::Deploy, Self::Admin].into_iter().find(|scope| scope.name() == name)
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is called.
    pub name: String,
    /// By what it is found, and told from others that had its name.
    pub hash: Hash,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// The function that it is for, or with `*` at its end the beginning of those; `*` is for all.
    pub functions: String,
    /// From then on it is none: seconds since 1970.
    pub expires_at: u64,
}
