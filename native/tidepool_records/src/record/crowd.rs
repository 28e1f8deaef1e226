//! How many records of one namespace may be in one shard. That a record was never there is known of all others of its shard, which are read
//! for it; and which names have the same shard, anybody can compute. So one namespace has no more of a shard than chance would give it.

use super::change::Change;
use super::error::StoreError;
use super::key::{Key, SHARDS, classes};

/// A namespace may have so many in any shard.
pub(crate) const CROWD: u64 = 256;
/// And so many times as many as a shard has on average, where that is more.
const TIMES: u64 = 4;

/// Does the change begin a record, if there is none?
pub(crate) fn begins(change: &Change) -> bool {
    change.record().is_some_and(|put| put.seq == 1)
}

/// Between which classes those are that count together with a key's: those of its namespace, or its own where it has none.
pub(crate) fn together(key: &Key) -> [String; 2] {
    key.namespace().map_or_else(|| [key.class.clone(), format!("{}\0", key.class)], classes)
}

/// May a shard with so many records that count together have another, where there are so many in `all` shards?
///
/// # Errors
/// [`StoreError::Crowded`] when it may not.
pub(crate) fn has_place(key: &Key, records: u64, all: u64) -> Result<(), StoreError> {
    let most = CROWD.max((all / u64::from(SHARDS)).saturating_mul(TIMES));
    if records < most { Ok(()) } else { Err(StoreError::Crowded { key: key.clone(), records }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_what_chance_gives_it_and_no_more() {
        let key = Key::new("shop/cart", "alice");
        assert!(has_place(&key, 255, 0).is_ok());
        assert!(matches!(has_place(&key, 256, 0), Err(StoreError::Crowded { records: 256, .. })));
        assert!(has_place(&key, 999, 1_000_000).is_err());
        assert!(has_place(&key, 3_999, 4_096_000).is_ok());
        assert_eq!(together(&key), ["shop/", "shop0"]);
        assert_eq!(together(&Key::new("cart", "alice")), ["cart", "cart\0"]);
    }
}
