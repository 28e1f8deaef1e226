//! Exports whose arguments and result are bytes and texts.

use wasmtime::component::Type;

/// A parameter, or a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// `list<u8>`.
    Bytes,
    /// `string`.
    Text,
}

/// What such an export returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    Nothing,
    One(Piece),
    /// A result, whose error is a text.
    Result(Piece),
}

/// An export of this kind.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(in crate::abi) params: Vec<Piece>,
    pub(in crate::abi) returned: Returned,
}

impl Shape {
    /// That of an export with these parameters and this result; `None` when it has others, or none.
    pub(crate) fn of<'a>(params: impl Iterator<Item = &'a Type>, result: Option<&Type>) -> Option<Self> {
        let params: Vec<Piece> = params.map(Piece::of).collect::<Option<_>>()?;
        let returned = match result {
            None => Returned::Nothing,
            Some(Type::Result(result)) if result.err() == Some(Type::String) => {
                Returned::Result(Piece::of(&result.ok()?)?)
            }
            Some(one) => Returned::One(Piece::of(one)?),
        };
        let has_pieces = !params.is_empty() || !matches!(returned, Returned::Nothing);
        (has_pieces && params.len() <= 2).then_some(Shape { params, returned })
    }
}

impl Piece {
    fn of(ty: &Type) -> Option<Self> {
        match ty {
            Type::String => Some(Piece::Text),
            Type::List(list) if list.ty() == Type::U8 => Some(Piece::Bytes),
            _ => None,
        }
    }
}
