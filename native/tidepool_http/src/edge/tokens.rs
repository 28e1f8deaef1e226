//! Tokens that the backend has made: what each may be used for, and until when. They are found by the SHA-256 of their secrets, which
//! nobody here knows.

use crate::backend::token::{Hash, Scope, Token};
use crate::budget::shares::Account;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// No secret is longer.
const SECRET_BYTES: usize = 256;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    /// A function, by its decoded name.
    Function(&'a str),
    /// The server, or many functions: for tokens of all functions.
    Server,
    /// Functions that the backend looks at: one that the request's body names, or those of a list.
    InBackend,
}

impl Token {
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own == scope || *own == Scope::Admin)
    }

    pub(crate) fn covers(&self, subject: Subject<'_>) -> bool {
        match (self.functions.strip_suffix('*'), subject) {
            (Some(""), _) | (_, Subject::InBackend) => true,
            (_, Subject::Server) => false,
            // The star stands for no slash, so that what is for a namespace says so.
            (Some(beginning), Subject::Function(name)) => {
                name.strip_prefix(beginning).is_some_and(|rest| !rest.contains('/'))
            }
            (None, Subject::Function(name)) => self.functions == name,
        }
    }

    /// The namespace that its functions are in, if they are in one.
    fn namespace(&self) -> Option<&str> {
        self.functions.split_once('/').map(|(namespace, _)| namespace)
    }
}

/// All that there are.
#[derive(Debug, Default)]
pub(crate) struct Tokens(RwLock<Arc<Table>>);

#[derive(Debug, Default)]
struct Table {
    tokens: HashMap<Hash, Arc<Token>>,
    /// What each namespace holds that has a token.
    accounts: HashMap<String, Arc<Account>>,
}

impl Tokens {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        let all = Self::default();
        all.replace(tokens);
        all
    }

    /// From now on there are these, and no others.
    pub(crate) fn replace(&self, tokens: Vec<Token>) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // What is held goes on counting when a namespace has no token for a moment.
        let held = table.accounts.iter().filter(|(_, account)| Arc::strong_count(account) > 1);
        let mut accounts: HashMap<_, _> =
            held.map(|(namespace, account)| (namespace.clone(), Arc::clone(account))).collect();
        for namespace in tokens.iter().filter_map(Token::namespace) {
            accounts.entry(namespace.to_owned()).or_default();
        }
        let tokens = tokens.into_iter().map(|token| (token.hash, Arc::new(token))).collect();
        *table = Arc::new(Table { tokens, accounts });
    }

    /// The token with this secret, unless it has expired. How long it takes tells of the secret's hash at most, which nobody can
    /// choose.
    pub(crate) fn find(&self, secret: &[u8]) -> Option<Arc<Token>> {
        let table = self.table();
        if table.tokens.is_empty() || secret.len() > SECRET_BYTES {
            return None;
        }
        let hash: Hash = Sha256::digest(secret).into();
        live(&table, &hash)
    }

    /// The token whose secret has this hash, unless it has expired or was revoked.
    pub(crate) fn get(&self, hash: &Hash) -> Option<Arc<Token>> {
        live(&self.table(), hash)
    }

    /// What the namespace of a token's functions holds; `None` for one whose functions are in none.
    pub(crate) fn account(&self, token: &Token) -> Option<Arc<Account>> {
        let namespace = token.namespace()?;
        self.table().accounts.get(namespace).map(Arc::clone)
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn live(table: &Table, hash: &Hash) -> Option<Arc<Token>> {
    table.tokens.get(hash).filter(|token| now() < token.expires_at).map(Arc::clone)
}

/// A clock before 1970 is wrong: then no token is good.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn token(functions: &str) -> Token {
        let hash = Sha256::digest("s3cret").into();
        Token {
            name: "ci".into(),
            hash,
            scopes: vec![Scope::Deploy],
            functions: functions.into(),
            expires_at: u64::MAX,
        }
    }

    #[test]
    fn a_pattern_covers_what_begins_like_it_and_nothing_that_only_looks_so() {
        for (functions, name, covered) in [
            ("shop-*", "shop-cart", true),
            ("shop-*", "shop-", true),
            ("shop-*", "shop", false),
            ("shop-*", "SHOP-cart", false),
            ("shop-*", "my-shop-cart", false),
            ("shop.*", "shop-cart", false),
            ("shop", "shop", true),
            ("shop", "shop-cart", false),
            ("shop*", "shop-cart", true),
            ("shop*", "shop/cart", false),
            ("shop-*", "shop-x/cart", false),
            ("shop/*", "shop/cart", true),
            ("shop/*", "shop", false),
            ("shop/*", "shopx/cart", false),
            ("shop/*", "shop/cart/x", false),
            ("shop/c*", "shop/cart", true),
            ("*", "shop/cart", true),
            ("*", "anything", true),
        ] {
            assert_eq!(token(functions).covers(Subject::Function(name)), covered, "{functions} {name}");
        }
        assert!(token("*").covers(Subject::Server));
        assert!(!token("shop-*").covers(Subject::Server));
        assert!(!token("shop").covers(Subject::Server));
    }

    #[test]
    fn a_token_has_its_scopes_and_an_admin_all() {
        let admin = Token { scopes: vec![Scope::Admin], ..token("*") };
        for scope in [Scope::Read, Scope::Call, Scope::Deploy, Scope::Admin] {
            assert!(admin.may(scope));
            assert_eq!(token("*").may(scope), scope == Scope::Deploy);
            assert_eq!(Scope::of(scope.name()), Some(scope));
        }
        assert_eq!(Scope::of("root"), None);
    }

    #[test]
    fn a_token_is_found_by_its_secret_until_it_expires_or_is_replaced() {
        let old = Token { expires_at: now() - 1, hash: Sha256::digest("old").into(), ..token("*") };
        let tokens = Tokens::new(vec![token("*"), old.clone()]);
        assert_eq!(tokens.find(b"s3cret").as_deref(), Some(&token("*")));
        assert_eq!(tokens.get(&token("*").hash).as_deref(), Some(&token("*")));
        assert_eq!(tokens.get(&old.hash), None);
        for wrong in ["old", "s3cre", "s3crets", "", &"x".repeat(10_000)] {
            assert_eq!(tokens.find(wrong.as_bytes()), None);
        }
        tokens.replace(Vec::new());
        assert_eq!(tokens.find(b"s3cret"), None);
        assert_eq!(tokens.get(&token("*").hash), None);
    }
}
