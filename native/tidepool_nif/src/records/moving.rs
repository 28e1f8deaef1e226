//! Records into a file of their own, and from there into a store of whatever kind.

use std::path::Path;

use rustler::{Atom, Env, Error, NifResult, Term};
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

/// `{:file, path}`, `{:shared, url}` or `{{:voter, node}, folder}`.
fn place<'a, 'env: 'a>((kind, address): &'a (Term<'env>, String)) -> NifResult<Place<'a>> {
    if atoms::file() == *kind {
        return Ok(Place::File(Path::new(address)));
    }
    if atoms::shared() == *kind {
        return Ok(Place::Database(address));
    }
    match kind.decode::<(Atom, &'env str)>() {
        Ok((of, node)) if of == atoms::voter() => Ok(Place::Voter(Path::new(address), node)),
        _neither => Err(Error::BadArg),
    }
}

fn counted(env: Env<'_>, moved: Result<Moved, StoreError>) -> Term<'_> {
    answer(env, moved, |Moved { records, common }| (atoms::ok(), (records, common)))
}
