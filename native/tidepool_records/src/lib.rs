//! Records of named instances: what an instance leaves between calls, kept in one file of SQLite's, or in a database of PostgreSQL's
//! that several nodes share.
//!
//! [`Records`] has a thread that writes. It takes whatever changes have piled up, commits them in one transaction, and tells each
//! caller only then: what was answered survives the end of the process and a loss of power. Each change stands for itself in that:
//! one that is refused leaves the others alone.
//!
//! # What is damaged is not believed
//!
//! A database trusts the pages that it reads. So each row has a mark, a keyed digest of all that is in it, and each image is part of
//! its record's (`record/mark.rs`). Rows that can't be found any more would look as if there had never been any: each of [`SHARDS`]
//! shards has the number of its records and the sum of their marks, and who asks for a record that is not there has the whole shard
//! checked. Either way the answer is [`StoreError::Damaged`].
//!
//! # Who may write
//!
//! A record has an epoch and a sequence number. A change of an earlier epoch is refused ([`StoreError::Fenced`]), and so is one that
//! does not follow what there is ([`StoreError::OutOfOrder`]). In a shared store each shard has an owner and an epoch besides, and
//! only the owner's changes of that epoch are made. So an owner that was replaced, and does not know, can't write.

// Tests in src/ use tests/support, which names this crate.
#[cfg(test)]
extern crate self as tidepool_records;

mod archive;
mod lease;
mod postgres;
mod record;
mod replicated;
mod sqlite;
mod store;

pub use archive::{Moved, Part, State, differing, part_of};
pub use lease::{Answer, Ask, NodeLease, Owner, Shard};
pub use record::{
    Change, Done, Found, Head, Heads, Image, Key, Load, MAX_LINKS, MostOfEach, MostValues, Page, Put, Record, SHARDS,
    StoreError, Summary, Usage, Values,
};
pub use replicated::{Answering, Links, MemberChange, MemberState, Standing, Voter};
pub use sqlite::Told;
pub use store::{Place, Records};
