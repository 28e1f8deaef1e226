//! Records into a file of their own, and from there into a store of whatever kind.

use std::path::{Path, PathBuf};

use rustler::{Atom, Env, Error, NifResult, Term};
use tidepool_records::{Key, Moved, Place, StoreError};

use super::store::answer;
use crate::terms::decode::List;
use crate::terms::{atoms, encode};

/// Classes and names.
type Keys = List<(String, String)>;

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

/// The same, of files and the records that are left out of each.
#[rustler::nif(schedule = "DirtyIo")]
fn import_records<'a>(
    env: Env<'a>,
    place: (Term<'a>, String),
    from: List<(String, Keys)>,
    overwrite: bool,
) -> NifResult<Term<'a>> {
    let parts = from.0.into_iter().map(|(path, left_out)| (path.into(), keys(left_out).collect())).collect();
    let moved = self::place(&place)?.import_parts(parts, overwrite);
    Ok(counted(env, moved))
}

/// `{:ok, [{class, name, [{archive, head, rest}]}]}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn differing_records(env: Env<'_>, archives: List<String>) -> Term<'_> {
    let archives: Vec<PathBuf> = archives.0.into_iter().map(PathBuf::from).collect();
    answer(env, tidepool_records::differing(&archives), |found| {
        let found = found.into_iter().map(|(key, states)| {
            let states = states
                .into_iter()
                .map(|state| (state.archive, encode::copy(env, &state.head), encode::copy(env, &state.rest)));
            (key.class, key.name, states.collect::<Vec<_>>())
        });
        (atoms::ok(), found.collect::<Vec<_>>())
    })
}

/// `{:ok, {records, common}}`, or an error.
#[rustler::nif(schedule = "DirtyIo")]
fn part_of_records(env: Env<'_>, archive: String, of: Keys, to: String) -> Term<'_> {
    counted(env, tidepool_records::part_of(Path::new(&archive), &keys(of).collect(), Path::new(&to)))
}

fn keys(named: Keys) -> impl Iterator<Item = Key> {
    named.0.into_iter().map(|(class, name)| Key::new(class, name))
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
