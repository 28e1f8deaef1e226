//! What is kept, and what may be done to it, whatever keeps it.

mod change;
mod crowd;
mod error;
mod fair;
mod gone;
mod job;
mod key;
mod mark;
mod most;
mod packed;
mod row;

pub use change::{Change, Found, Head, Heads, Image, MAX_LINKS, Page, Put, Record, Summary, Usage, Values};
pub(crate) use crowd::{COMMON_CROWD, CROWD, Crowd, Total, begins, has_place, most_of};
pub use error::StoreError;
pub(crate) use fair::FairQueue;
pub(crate) use gone::{AT_ONCE, PIECE, Part, TURN, gone_mark};
pub(crate) use job::{Batch, Job, QUEUE, Room, TRANSACTION};
pub use job::{Done, Load};
pub(crate) use key::classes;
pub use key::{Key, SHARDS};
pub(crate) use mark::{Mark, chain, finish, hasher, value as value_mark, xor};
pub(crate) use most::PASSED;
pub use most::{MostOfEach, MostValues};
pub(crate) use row::{Row, check, is_refusal};
