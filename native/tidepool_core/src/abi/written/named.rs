//! Which types WIT declares by a name, and whether two are one.

use std::mem::discriminant;

use wasmtime::component::Type;

/// Bytes of a name that are as much to look at as all else: who looks for a name reads others, which may be very long.
pub(super) const LOOK_BYTES: usize = 64;

/// Is it one that WIT has nowhere but where it is declared, by its name?
pub(in crate::abi) fn is_declared(ty: &Type) -> bool {
    matches!(ty, Type::Record(_) | Type::Variant(_) | Type::Enum(_) | Type::Flags(_))
}

/// Are they one type? The engine compares those of an instance: before there is one, it panics where two have a resource at
/// the same place. No more are compared than are `left`: without any they are not one.
pub(super) fn is_same(one: &Type, other: &Type, left: &mut usize) -> bool {
    if discriminant(one) != discriminant(other) || !take(left, 1) {
        return false;
    }
    // It is there once: many types may have it within them, and it may be very large.
    if let (Some(one), Some(other)) = (first(one), first(other))
        && std::ptr::eq(one, other)
    {
        return true;
    }
    match (one, other) {
        (Type::List(one), Type::List(other)) => is_same(&one.ty(), &other.ty(), left),
        (Type::FixedLengthList(one), Type::FixedLengthList(other)) => {
            one.len() == other.len() && is_same(&one.ty(), &other.ty(), left)
        }
        (Type::Map(one), Type::Map(other)) => {
            is_same(&one.key(), &other.key(), left) && is_same(&one.value(), &other.value(), left)
        }
        (Type::Record(one), Type::Record(other)) => {
            let mut fields = one.fields().zip(other.fields());
            one.fields().len() == other.fields().len()
                && fields.all(|(one, other)| is_one(one.name, other.name, left) && is_same(&one.ty, &other.ty, left))
        }
        (Type::Tuple(one), Type::Tuple(other)) => {
            let mut types = one.types().zip(other.types());
            one.types().len() == other.types().len() && types.all(|(one, other)| is_same(&one, &other, left))
        }
        (Type::Variant(one), Type::Variant(other)) => {
            let mut cases = one.cases().zip(other.cases());
            one.cases().len() == other.cases().len()
                && cases.all(|(one, other)| is_one(one.name, other.name, left) && are_same(one.ty, other.ty, left))
        }
        (Type::Enum(one), Type::Enum(other)) => have_same(one.names(), other.names(), left),
        (Type::Flags(one), Type::Flags(other)) => have_same(one.names(), other.names(), left),
        (Type::Option(one), Type::Option(other)) => is_same(&one.ty(), &other.ty(), left),
        (Type::Result(one), Type::Result(other)) => {
            are_same(one.ok(), other.ok(), left) && are_same(one.err(), other.err(), left)
        }
        (Type::Own(one), Type::Own(other)) | (Type::Borrow(one), Type::Borrow(other)) => one == other,
        (Type::Future(one), Type::Future(other)) => are_same(one.ty(), other.ty(), left),
        (Type::Stream(one), Type::Stream(other)) => are_same(one.ty(), other.ty(), left),
        // All others have nothing within them.
        _ => true,
    }
}

/// The same of what may be there or not.
fn are_same(one: Option<Type>, other: Option<Type>, left: &mut usize) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is_same(&one, &other, left),
        (None, None) => take(left, 1),
        _ => false,
    }
}

fn have_same<'n>(
    one: impl ExactSizeIterator<Item = &'n str>,
    other: impl ExactSizeIterator<Item = &'n str>,
    left: &mut usize,
) -> bool {
    one.len() == other.len() && one.zip(other).all(|(one, other)| take(left, 1) && is_one(one, other, left))
}

/// Are they one name? Those of one length are read as far as they are alike.
fn is_one(one: &str, other: &str, left: &mut usize) -> bool {
    one.len() == other.len() && take(left, one.len() / LOOK_BYTES) && one == other
}

fn take(left: &mut usize, count: usize) -> bool {
    let less = left.checked_sub(count);
    *left = less.unwrap_or_default();
    less.is_some()
}

/// The first name within a type that is declared: no two have it in one place.
fn first(ty: &Type) -> Option<&str> {
    match ty {
        Type::Record(record) => record.fields().next().map(|field| field.name),
        Type::Variant(variant) => variant.cases().next().map(|case| case.name),
        Type::Enum(names) => names.names().next(),
        Type::Flags(names) => names.names().next(),
        _ => None,
    }
}
