//! Whether callers have values for what a component's function takes and returns.

use wasmtime::component::Type;

/// A look at the types of a function.
pub(in crate::abi) struct Look<'a> {
    /// Types that may still be looked at.
    pub(in crate::abi) budget: &'a mut usize,
    /// Is a resource among them?
    pub(in crate::abi) resources: bool,
}

impl Look<'_> {
    /// What of a type no caller has a value for.
    pub(in crate::abi) fn unspeakable(&mut self, ty: &Type) -> Option<&'static str> {
        let Some(left) = self.budget.checked_sub(1) else {
            return Some("has types that are too large, or others of its component");
        };
        *self.budget = left;
        match ty {
            Type::Own(_) | Type::Borrow(_) => {
                self.resources = true;
                None
            }
            Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
                Some("takes or returns a stream or a future of WASI 0.3, which this host does not run")
            }
            Type::List(list) => self.unspeakable(&list.ty()),
            Type::FixedLengthList(list) => self.unspeakable(&list.ty()),
            Type::Map(map) => self.unspeakable(&map.key()).or_else(|| self.unspeakable(&map.value())),
            Type::Record(record) => record.fields().find_map(|field| self.unspeakable(&field.ty)),
            Type::Tuple(tuple) => tuple.types().find_map(|ty| self.unspeakable(&ty)),
            Type::Variant(variant) => variant.cases().filter_map(|case| case.ty).find_map(|ty| self.unspeakable(&ty)),
            Type::Option(option) => self.unspeakable(&option.ty()),
            Type::Result(result) => result.ok().into_iter().chain(result.err()).find_map(|ty| self.unspeakable(&ty)),
            _ => None,
        }
    }
}
