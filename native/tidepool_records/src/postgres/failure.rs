//! What went wrong, from what the database or its client says.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::record::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let why = said(&error).into();
        let Some(code) = error.code() else { return StoreError::Away(why) };
        match (code.code().get(..2), code) {
            (_, &SqlState::DISK_FULL) => StoreError::Full,
            (_, &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED) => StoreError::Corrupt(why),
            (_, &SqlState::INSUFFICIENT_PRIVILEGE) => StoreError::Rights(why),
            // Not reached, not let in, read-only, rolled back for another's sake, out of something, a lock not got, shutting down.
            (Some("08" | "28" | "3D" | "25" | "40" | "53" | "55" | "57"), _) => StoreError::Away(why),
            _ if is_fatal(&error) => StoreError::Away(why),
            _ => StoreError::Postgres(why),
        }
    }
}

/// Is the connection at its end by the database's own word?
pub(super) fn is_fatal(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| matches!(error.severity(), "FATAL" | "PANIC"))
}

/// No answer has come in time.
pub(super) fn late(within: Duration) -> StoreError {
    StoreError::Away(format!("it has not answered within {} ms", within.as_millis()).into())
}

/// The error with its causes. The client's own words have no password in them.
pub(super) fn said(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return worded(error);
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn worded(error: &DbError) -> String {
    format!("{} ({})", error.message(), error.code().code())
}
