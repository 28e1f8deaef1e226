//! Values of many, converted in pieces: the slice ends between them, so that no thread is held for all of them.

use std::pin::Pin;

use wasmtime::component::types::{Case, Variant};
use wasmtime::component::{Type, Val};

use super::work::{Conversion, Resources, Tally, TooMuch};
use super::{Placed, Placing, Unfit, case, field, given, no_case, payload, shown, text, unfit};
use crate::slice::yielding::yielded;
use crate::store::host_share::HostShare;
use crate::value::Value;

/// Values of up to so many are converted in one go, if that spends no more than a slice: they may leave out very many, or have types
/// with very many names.
const PIECE: usize = 256;
/// After so many the slice ends.
const SLICE: usize = 1_024;

/// Bytes of a list with a value for each, after which the slice may end.
const PIECE_BYTES: usize = 16 << 10;

/// Bytes of lists that are read of a value for each, before the slice ends.
const SHOWN_BYTES: usize = 64 << 10;

/// A conversion: of the arguments of a call, or of a result.
pub(in crate::abi::component) struct Pieces<'r> {
    resources: &'r mut dyn Resources,
    /// What is made is counted in it at the end of each slice, where there is one, and where its `resources` say.
    share: Option<&'r mut HostShare>,
    /// What it has done.
    pub(in crate::abi::component) tally: Tally,
    /// What was spent when the slice began.
    began: usize,
    /// Bytes that were shown since a slice ended for those.
    shown_bytes: usize,
    /// What was spent on what was too large for one go.
    wasted: usize,
}

type Converted<'p, T> = Pin<Box<dyn Future<Output = T> + Send + 'p>>;

impl<'r> Pieces<'r> {
    pub(in crate::abi::component) fn new(resources: &'r mut dyn Resources) -> Self {
        Pieces { resources, share: None, tally: Tally::default(), began: 0, shown_bytes: 0, wasted: 0 }
    }

    /// One that ends when there is no room in a share for what it has made.
    pub(in crate::abi::component) fn counted(resources: &'r mut dyn Resources, share: &'r mut HostShare) -> Self {
        Pieces { share: Some(share), ..Self::new(resources) }
    }

    /// Counts all that was made; `false` when there was no room for it.
    pub(in crate::abi::component) fn has_room(&mut self) -> bool {
        let made = self.tally.made_bytes();
        match self.tally.over() {
            Some(over) => over != TooMuch::Room,
            None => self.holds(made),
        }
    }

    /// Counts so many bytes of a list before there is a value for each, which takes forty times as much.
    fn hold_ahead(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.tally.may_have_bytes(bytes)?;
        let more = bytes.saturating_mul(size_of::<Val>() + 1);
        let made = self.tally.made_bytes().saturating_add(more);
        if self.holds(made) { Ok(()) } else { Err(self.tally.end(TooMuch::Room)) }
    }

    fn holds(&mut self, bytes: usize) -> bool {
        self.share.as_mut().is_none_or(|share| share.raise_to(bytes)) && self.resources.hold(bytes)
    }

    /// As [`given`].
    ///
    /// # Errors
    /// As of that.
    pub(in crate::abi::component) async fn given(&mut self, value: &Value, ty: &Type) -> Result<Val, Unfit> {
        // What was given to a guest is not given once more.
        if !is_more(value, &mut { PIECE })
            && !value.has_handle()
            && let Some(made) = self.whole_if_small(|work| given(value, ty, work)).await
        {
            return made;
        }
        self.large(value, ty).await
    }

    fn large<'p>(&'p mut self, value: &'p Value, ty: &'p Type) -> Converted<'p, Result<Val, Unfit>> {
        Box::pin(async move {
            match (value, ty) {
                (Value::List(values) | Value::Tuple(values), Type::List(list)) => {
                    self.tally.count(1)?;
                    let (ty, mut elements) = (list.ty(), Vec::with_capacity(values.len()));
                    for (index, value) in values.iter().enumerate() {
                        elements.push(self.given(value, &ty).await.map_err(|error| error.at(&index))?);
                    }
                    Ok(Val::List(elements))
                }
                (Value::Bytes(bytes) | Value::ByteList(bytes), Type::List(list)) if list.ty() == Type::U8 => {
                    self.tally.count(1)?;
                    self.hold_ahead(bytes.len())?;
                    let mut elements = Vec::with_capacity(bytes.len());
                    for piece in bytes.chunks(PIECE_BYTES) {
                        self.tally.bytes(piece.len())?;
                        elements.extend(piece.iter().map(|byte| Val::U8(*byte)));
                        self.slice().await;
                    }
                    Ok(Val::List(elements))
                }
                (Value::ByteList(bytes), Type::List(list)) => {
                    self.tally.count(1)?;
                    let (ty, mut elements) = (list.ty(), Vec::with_capacity(bytes.len()));
                    for (index, byte) in bytes.iter().enumerate() {
                        let made = self.given(&Value::Int((*byte).into()), &ty).await;
                        elements.push(made.map_err(|error| error.at(&index))?);
                    }
                    Ok(Val::List(elements))
                }
                (Value::List(values) | Value::Tuple(values), Type::Tuple(tuple))
                    if values.len() == tuple.types().len() =>
                {
                    self.tally.count(1)?;
                    let (types, mut elements) = (tuple.types().collect::<Vec<_>>(), Vec::with_capacity(values.len()));
                    for (index, (value, ty)) in values.iter().zip(&types).enumerate() {
                        elements.push(self.given(value, ty).await.map_err(|error| error.at(&index))?);
                    }
                    Ok(Val::Tuple(elements))
                }
                (_, Type::Record(record)) => {
                    self.tally.count(1)?;
                    let types: Vec<_> = record.fields().collect();
                    let names: Vec<&str> = types.iter().map(|field| field.name).collect();
                    let (placed, fault) = self.placed(value, &names).await?;
                    let mut fields = Vec::with_capacity(placed.len());
                    for (ty, value) in types.iter().zip(placed) {
                        let made = match value {
                            Some(value) => {
                                self.tally.name(ty.name)?;
                                self.given(value, &ty.ty).await.map_err(|error| error.at(&ty.name))
                            }
                            None => {
                                let piece = self.piece(|work| field(None, ty, work));
                                self.slice().await;
                                piece
                            }
                        };
                        fields.push((ty.name.to_owned(), made?));
                    }
                    fault.map_or(Ok(Val::Record(fields)), Err)
                }
                (Value::Option(Some(value)), Type::Option(option)) => {
                    self.tally.count(1)?;
                    Ok(Val::Option(Some(Box::new(self.given(value, &option.ty()).await?))))
                }
                (_, Type::Option(option)) => {
                    self.tally.count(1)?;
                    let within = case(value).filter(|(name, _value)| name == "some").and_then(|(_some, value)| value);
                    Ok(Val::Option(Some(Box::new(self.given(within.unwrap_or(value), &option.ty()).await?))))
                }
                (_, Type::Variant(variant)) => {
                    let Some((name, within)) = case(value) else { return self.whole(value, ty) };
                    self.tally.count(1)?;
                    let Some(found) = self.case(&name, variant).await? else {
                        return Err(no_case(&name, variant.cases().map(|case| case.name)));
                    };
                    self.tally.name(found.name)?;
                    let made = match (within, &found.ty) {
                        (Some(within), Some(ty)) => {
                            let made = self.given(within, ty).await.map_err(|error| error.at(&found.name))?;
                            Some(Box::new(made))
                        }
                        (within, ty) => self.piece(|work| payload(within, ty.as_ref(), found.name, work))?,
                    };
                    Ok(Val::Variant(found.name.to_owned(), made))
                }
                (_, Type::Enum(cases)) => {
                    self.tally.count(1)?;
                    let (name, names) = (text(value)?, cases.names().collect::<Vec<_>>());
                    let found = self.find(&name, &names).await?;
                    let (_place, found) = found.ok_or_else(|| no_case(&name, names.iter().copied()))?;
                    self.tally.name(found)?;
                    Ok(Val::Enum(found.to_owned()))
                }
                (_, Type::Result(result)) => {
                    let ty_of = |name: &str| match name {
                        "ok" => result.ok(),
                        "error" => result.err(),
                        _ => None,
                    };
                    match case(value).and_then(|(name, value)| Some((ty_of(&name)?, name == "ok", value?))) {
                        Some((ty, is_ok, value)) => {
                            self.tally.count(1)?;
                            let name = if is_ok { "ok" } else { "error" };
                            let value = self.given(value, &ty).await.map_err(|error| error.at(&name))?;
                            let value = Some(Box::new(value));
                            Ok(Val::Result(if is_ok { Ok(value) } else { Err(value) }))
                        }
                        None => self.whole(value, ty),
                    }
                }
                _ => {
                    let made = self.whole(value, ty);
                    self.slice().await;
                    made
                }
            }
        })
    }

    /// As [`placed`](super::placed) of a record with fields of these names.
    async fn placed<'v>(&mut self, value: &'v Value, names: &[&str]) -> Result<Placed<'v>, Unfit> {
        let Value::Record(fields) = value else { return unfit("a record", value) };
        let mut placing = Placing::of(names.len());
        for (at, (name, value)) in fields.iter().enumerate() {
            let place = match names.get(at) {
                Some(there) if self.tally.is_name(name, there)? => Some(at),
                _ => self.find(name, names).await?.map(|(place, _name)| place),
            };
            placing.put(place, name, value);
            self.slice().await;
        }
        Ok(placing.end())
    }

    /// As [`Tally::find`].
    async fn find<'n>(&mut self, meant: &str, names: &[&'n str]) -> Result<Option<(usize, &'n str)>, TooMuch> {
        for (place, name) in names.iter().enumerate() {
            if self.tally.is_name(meant, name)? {
                return Ok(Some((place, name)));
            }
            self.slice().await;
        }
        Ok(None)
    }

    /// As [`Tally::case`].
    async fn case<'n>(&mut self, meant: &str, variant: &'n Variant) -> Result<Option<Case<'n>>, TooMuch> {
        for case in variant.cases() {
            if self.tally.is_case(meant, &case)? {
                return Ok(Some(case));
            }
            self.slice().await;
        }
        Ok(None)
    }

    /// As [`shown`].
    pub(in crate::abi::component) async fn shown(&mut self, val: &Val, ty: &Type) -> Value {
        // A handle is made once.
        if !has_more(val, &mut { PIECE })
            && !has_resource(val)
            && let Some(shown) = self.whole_if_small(|work| shown(val, ty, work)).await
        {
            return shown;
        }
        self.large_shown(val, ty).await
    }

    fn large_shown<'p>(&'p mut self, val: &'p Val, ty: &'p Type) -> Converted<'p, Value> {
        Box::pin(async move {
            if !has_parts(val) {
                let piece = self.piece(|work| shown(val, ty, work));
                self.slice().await;
                return piece;
            }
            // Counted, and cut there, as the rest is.
            if self.tally.count(1).is_err() {
                return Value::Null;
            }
            match (val, ty) {
                (Val::List(values), Type::List(list)) if list.ty() == Type::U8 => {
                    let mut bytes = Vec::with_capacity(values.len());
                    for piece in values.chunks(SHOWN_BYTES) {
                        bytes.extend(piece.iter().map(|val| if let Val::U8(byte) = val { *byte } else { 0 }));
                        self.shown_bytes += piece.len();
                        if self.shown_bytes >= SHOWN_BYTES {
                            self.shown_bytes = 0;
                            yielded().await;
                        }
                    }
                    Value::Bytes(bytes.into())
                }
                (Val::List(values), Type::List(list)) => {
                    let (ty, mut elements) = (list.ty(), Vec::with_capacity(values.len()));
                    for val in values {
                        if self.tally.over().is_some() {
                            break;
                        }
                        elements.push(self.shown(val, &ty).await);
                    }
                    Value::List(elements)
                }
                (Val::Record(values), Type::Record(record)) => {
                    let (types, mut fields) = (record.fields().collect::<Vec<_>>(), Vec::with_capacity(values.len()));
                    for ((name, val), field) in values.iter().zip(&types) {
                        if self.tally.over().is_some() {
                            break;
                        }
                        fields.push((name.as_str().into(), self.shown(val, &field.ty).await));
                    }
                    Value::Record(fields)
                }
                (Val::Tuple(values), Type::Tuple(tuple)) => {
                    let (types, mut elements) = (tuple.types().collect::<Vec<_>>(), Vec::with_capacity(values.len()));
                    for (val, ty) in values.iter().zip(&types) {
                        if self.tally.over().is_some() {
                            break;
                        }
                        elements.push(self.shown(val, ty).await);
                    }
                    Value::Tuple(elements)
                }
                (Val::Option(Some(val)), Type::Option(option)) => {
                    Value::Option(Some(Box::new(self.shown(val, &option.ty()).await)))
                }
                (Val::Variant(name, Some(val)), Type::Variant(variant)) => {
                    let Ok(case) = self.case(name, variant).await else { return Value::Null };
                    match case.and_then(|case| case.ty) {
                        Some(ty) => Value::Case(name.as_str().into(), Box::new(self.shown(val, &ty).await)),
                        None => Value::Name(name.as_str().into()),
                    }
                }
                (Val::Result(result), Type::Result(types)) => {
                    let (name, val, ty) = match result {
                        Ok(val) => ("ok", val, types.ok()),
                        Err(val) => ("error", val, types.err()),
                    };
                    match (val, ty) {
                        (Some(val), Some(ty)) => Value::Case(name.into(), Box::new(self.shown(val, &ty).await)),
                        _ => Value::Name(name.into()),
                    }
                }
                _ => self.piece(|work| shown(val, ty, work)),
            }
        })
    }

    /// Converts in one go what spends no more than a slice; `None` when it would spend more, or so many others did that this is not
    /// tried.
    async fn whole_if_small<T>(&mut self, convert: impl FnOnce(&mut Conversion<'_>) -> T) -> Option<T> {
        if self.wasted > self.tally.spent() {
            return None;
        }
        let before = self.tally.clone();
        self.tally.begin_piece(SLICE);
        let made = self.piece(convert);
        if self.tally.end_piece() {
            self.tally = before;
            self.wasted += SLICE;
            yielded().await;
            return None;
        }
        self.slice().await;
        Some(made)
    }

    fn whole(&mut self, value: &Value, ty: &Type) -> Result<Val, Unfit> {
        self.piece(|work| given(value, ty, work))
    }

    fn piece<T>(&mut self, convert: impl FnOnce(&mut Conversion<'_>) -> T) -> T {
        let mut work = Conversion { resources: &mut *self.resources, tally: std::mem::take(&mut self.tally) };
        let made = convert(&mut work);
        self.tally = work.tally;
        made
    }

    /// Ends the slice when it has had its share.
    async fn slice(&mut self) {
        let spent = self.tally.spent();
        if spent - self.began >= SLICE {
            self.began = spent;
            if !self.has_room() {
                self.tally.end(TooMuch::Room);
            }
            yielded().await;
        }
    }
}

/// Has it more values within it than are left, each byte of a list counted?
fn is_more(value: &Value, left: &mut usize) -> bool {
    let Some(less) = left.checked_sub(1) else { return true };
    *left = less;
    match value {
        Value::Bytes(bytes) | Value::ByteList(bytes) => {
            let less = left.checked_sub(bytes.len());
            *left = less.unwrap_or_default();
            less.is_none()
        }
        Value::Case(_, value) | Value::Option(Some(value)) => is_more(value, left),
        Value::List(values) | Value::Tuple(values) => values.iter().any(|value| is_more(value, left)),
        Value::Record(fields) => fields.iter().any(|(_name, value)| is_more(value, left)),
        _ => false,
    }
}

/// Is it shown by its parts?
fn has_parts(val: &Val) -> bool {
    matches!(
        val,
        Val::List(_)
            | Val::Record(_)
            | Val::Tuple(_)
            | Val::Variant(_, Some(_))
            | Val::Option(Some(_))
            | Val::Result(Ok(Some(_)) | Err(Some(_)))
    )
}

/// Is there a resource in it?
fn has_resource(val: &Val) -> bool {
    match val {
        Val::Resource(_) => true,
        Val::List(values) | Val::FixedLengthList(values) | Val::Tuple(values) => values.iter().any(has_resource),
        Val::Record(fields) => fields.iter().any(|(_name, val)| has_resource(val)),
        Val::Map(pairs) => pairs.iter().any(|(key, val)| has_resource(key) || has_resource(val)),
        Val::Variant(_, Some(val)) | Val::Option(Some(val)) | Val::Result(Ok(Some(val)) | Err(Some(val))) => {
            has_resource(val)
        }
        _ => false,
    }
}

/// What it takes in the host, as the engine has it.
pub(in crate::abi::component) fn val_bytes(val: &Val) -> usize {
    weight(val, size_of::<Val>(), false)
}

/// What it takes there as it is shown, or some more.
pub(in crate::abi::component) fn shown_bytes(val: &Val) -> usize {
    weight(val, size_of::<Value>(), true)
}

/// What it takes with so many bytes for each value; lists of bytes may be `packed`.
fn weight(val: &Val, each: usize, packed: bool) -> usize {
    let of = |val: &Val| weight(val, each, packed);
    let all = |values: &[Val]| values.iter().map(of).fold(0, usize::saturating_add);
    let name = |name: &String| name.len() + size_of::<String>();
    let within = match val {
        Val::String(text) => text.len(),
        Val::List(values) if packed && matches!(values.first(), Some(Val::U8(_))) => values.len(),
        Val::List(values) | Val::FixedLengthList(values) | Val::Tuple(values) => all(values),
        Val::Record(fields) => fields.iter().map(|(field, val)| name(field) + of(val)).fold(0, usize::saturating_add),
        Val::Map(pairs) => pairs.iter().map(|(key, val)| of(key) + of(val)).fold(0, usize::saturating_add),
        Val::Variant(case, Some(val)) => name(case) + of(val),
        Val::Variant(case, None) | Val::Enum(case) => name(case),
        Val::Flags(names) => names.iter().map(name).sum(),
        Val::Option(Some(val)) | Val::Result(Ok(Some(val)) | Err(Some(val))) => of(val),
        _ => 0,
    };
    within.saturating_add(each)
}

/// Has it more values within it than are left?
pub(in crate::abi::component) fn has_more(val: &Val, left: &mut usize) -> bool {
    let Some(less) = left.checked_sub(1) else { return true };
    *left = less;
    match val {
        Val::List(values) | Val::FixedLengthList(values) | Val::Tuple(values) => {
            values.iter().any(|val| has_more(val, left))
        }
        Val::Record(fields) => fields.iter().any(|(_name, val)| has_more(val, left)),
        Val::Map(pairs) => pairs.iter().any(|(key, val)| has_more(key, left) || has_more(val, left)),
        Val::Variant(_, Some(val)) | Val::Option(Some(val)) | Val::Result(Ok(Some(val)) | Err(Some(val))) => {
            has_more(val, left)
        }
        _ => false,
    }
}
