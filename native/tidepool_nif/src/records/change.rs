//! Changes of records, from terms.

use rustler::types::tuple::get_tuple;
use rustler::{Binary, Error, NifResult, Term};
use tidepool_records::{Change, Image, Put};

use crate::terms::atoms;
use crate::terms::decode::List;
use crate::terms::message::message;

/// `{:put, epoch, seq, alarm_at, head, image, values}`, `{:reset, …}` with the same parts, `{:delete, epoch, seq}` or `{:erase, epoch}`.
pub(super) fn change(term: Term<'_>) -> NifResult<Change> {
    match get_tuple(term)?.as_slice() {
        [tag, epoch, seq, alarm_at, head, image, values] => {
            let record = Put {
                epoch: number(*epoch)?,
                seq: number(*seq)?,
                alarm_at: alarm_at.decode()?,
                head: bytes(*head)?,
                image: self::image(*image)?,
                values: self::values(*values)?,
            };
            match *tag {
                tag if atoms::put() == tag => Ok(Change::Put(record)),
                tag if atoms::reset() == tag => Ok(Change::Reset(record)),
                _ => Err(Error::BadArg),
            }
        }
        [tag, epoch, seq] if atoms::delete() == *tag => {
            Ok(Change::Delete { epoch: number(*epoch)?, seq: number(*seq)? })
        }
        [tag, epoch] if atoms::erase() == *tag => Ok(Change::Erase { epoch: number(*epoch)? }),
        _ => Err(Error::BadArg),
    }
}

/// `nil`, which leaves those that there are; an image; or `{:next, change}`.
fn image(term: Term<'_>) -> NifResult<Image> {
    if let Ok((tag, change)) = term.decode::<(Term<'_>, Binary<'_>)>() {
        return if atoms::next() == tag { Ok(Image::Next(message(change))) } else { Err(Error::BadArg) };
    }
    Ok(term.decode::<Option<Binary<'_>>>()?.map_or(Image::Keep, |image| Image::Whole(message(image))))
}

/// A key, and its value; `None` is of one that is to be gone.
type Value = (Vec<u8>, Option<Vec<u8>>);

/// In no more room than they take: a list that grows has twice as much.
fn values(term: Term<'_>) -> NifResult<Vec<Value>> {
    let List(given) = term.decode::<List<Term<'_>>>()?;
    let mut values = Vec::with_capacity(given.len());
    for each in given {
        values.push(value(each)?);
    }
    Ok(values)
}

/// `{key, value}`, with `nil` as the value of one that is to be gone.
fn value(term: Term<'_>) -> NifResult<Value> {
    let (key, value): (Term<'_>, Option<Binary<'_>>) = term.decode()?;
    Ok((bytes(key)?, value.map(|value| value.as_slice().to_vec())))
}

fn bytes(term: Term<'_>) -> NifResult<Vec<u8>> {
    Ok(term.decode::<Binary<'_>>()?.as_slice().to_vec())
}

/// A number that the file has room for: its numbers have signs.
pub(super) fn number(term: Term<'_>) -> NifResult<u64> {
    u64::try_from(term.decode::<i64>()?).map_err(|_negative| Error::BadArg)
}
