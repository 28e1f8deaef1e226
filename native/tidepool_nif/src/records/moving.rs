//! Records into a file of their own, and from there into a store of whatever kind.

use std::path::Path;

use rustler::{Env, Error, NifResult, Term};
use tidepool_records::{Moved, Place, StoreError};

use super::store::answer;
use crate::terms::atoms;

/// `{:ok, {records, common}}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn export_records<'a>(
    env: Env<'a>,
    place: (Term<'a>, String),
    class: Option<String>,
    to: String,
    overwrite: bool,
) -> NifResult<Term<'a>> {
    let moved = self::place(&place)?.export(class.as_deref(), Path::new(&to), overwrite);
    Ok(counted(env, moved))
}

/// The same.
#[rustler::nif(schedule = "DirtyIo")]
fn import_records<'a>(env: Env<'a>, place: (Term<'a>, String), from: String, overwrite: bool) -> NifResult<Term<'a>> {
    let moved = self::place(&place)?.import(Path::new(&from), overwrite);
    Ok(counted(env, moved))
}

/// `{:file, path}` or `{:shared, url}`.
fn place<'a>((kind, address): &'a (Term<'_>, String)) -> NifResult<Place<'a>> {
    if atoms::file() == *kind {
        Ok(Place::File(Path::new(address)))
    } else if atoms::shared() == *kind {
        Ok(Place::Database(address))
    } else {
        Err(Error::BadArg)
    }
}

fn counted(env: Env<'_>, moved: Result<Moved, StoreError>) -> Term<'_> {
    answer(env, moved, |Moved { records, common }| (atoms::ok(), (records, common)))
}
