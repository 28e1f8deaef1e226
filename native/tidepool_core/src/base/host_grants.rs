//! What of the host a function's guests may ask, by the names of its host functions.
//!
//! A grant is a text, `BINDING/NAMESPACE/OPERATION`: `shop/prices/get`, `redis/*/GET`, `tidepool/actor/room/*`. A part that ends in
//! `*` is granted with whatever begins so. The operation is all behind the second slash, so binding and namespace of what is
//! granted by name have none. `*` alone grants all there is; `none`, alone in its list, nothing.

/// Most grants of a list.
const MAX_GRANTS: usize = 64;
/// Longest grant, in bytes.
const MAX_BYTES: usize = 300;

/// A list of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostGrants {
    /// All there is.
    All,
    /// What one of these grants.
    Listed(Box<[[Part; 3]]>),
}

/// What a part of a name has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This.
    Exactly(Box<str>),
    /// This and whatever follows.
    From(Box<str>),
}

impl HostGrants {
    /// The grants of these texts.
    ///
    /// # Errors
    /// What is wrong with the first text that is none, or with their number.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let texts: Vec<&str> = texts.into_iter().collect();
        match texts.as_slice() {
            [] => Err("what grants nothing says `none`".into()),
            ["none"] => Ok(HostGrants::Listed(Box::default())),
            texts if texts.len() > MAX_GRANTS => Err(format!("there may be {MAX_GRANTS} grants")),
            texts => {
                let all = texts.contains(&"*");
                let rest = texts.iter().filter(|text| **text != "*");
                let listed = rest.map(|text| parts(text)).collect::<Result<Box<[_]>, _>>()?;
                Ok(if all { HostGrants::All } else { HostGrants::Listed(listed) })
            }
        }
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        let HostGrants::Listed(grants) = self else { return 0 };
        let part = |part: &Part| match part {
            Part::Exactly(text) | Part::From(text) => size_of::<Part>().saturating_add(text.len()),
        };
        grants.iter().flatten().map(part).fold(0, usize::saturating_add)
    }

    /// May a guest ask for this host function?
    #[must_use]
    pub fn allow(&self, name: [&[u8]; 3]) -> bool {
        match self {
            HostGrants::All => true,
            HostGrants::Listed(grants) => {
                grants.iter().any(|grant| grant.iter().zip(name).all(|(part, name)| part.covers(name)))
            }
        }
    }

    /// The same for an import, of whose namespace what is before the first slash is between a grant's own, and the rest behind them.
    #[must_use]
    pub fn allow_import(&self, [binding, namespace, operation]: [&str; 3]) -> bool {
        let (package, rest) = match namespace.split_once('/') {
            Some((package, interface)) => (package, &*format!("{interface}/{operation}")),
            None => (namespace, operation),
        };
        self.allow([binding, package, rest].map(str::as_bytes))
    }
}

impl Part {
    fn covers(&self, name: &[u8]) -> bool {
        match self {
            Part::Exactly(text) => name == text.as_bytes(),
            Part::From(text) => name.starts_with(text.as_bytes()),
        }
    }
}

fn parts(text: &str) -> Result<[Part; 3], String> {
    let part = |text: &str| match text.strip_suffix('*') {
        Some(beginning) => Part::From(beginning.into()),
        None => Part::Exactly(text.into()),
    };
    let mut parts = text.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(binding), Some(namespace), Some(operation)) if text.len() <= MAX_BYTES => {
            Ok([binding, namespace, operation].map(part))
        }
        _ => {
            let shown: String = text.chars().take(MAX_BYTES).collect();
            Err(format!("{shown:?} is no grant: one is like shop/prices/get, redis/*/GET or *, or it is none at all"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn allows(grants: &[&str], name: [&str; 3]) -> bool {
        HostGrants::parse(grants.iter().copied()).unwrap().allow(name.map(str::as_bytes))
    }

    #[test]
    fn an_import_is_granted_by_its_text_which_a_grant_has_two_slashes_in_however_many_that_has() {
        let allows = |grant: &str, name| HostGrants::parse([grant]).unwrap().allow_import(name);
        for name in [["wit", "docs:shop/prices@1.0.0", "price"], ["import", "a/b/c", "d"], ["import", "env", "f"]] {
            assert!(allows(&name.join("/"), name), "{name:?}");
            assert!(allows("*/*/*", name) && !allows("*/*/x", name), "{name:?}");
        }
        assert!(allows("wit/docs:shop/prices@*", ["wit", "docs:shop/prices@1.0.0", "price"]));
        assert!(!allows("wit/docs:shop*/price", ["wit", "docs:shop/prices@1.0.0", "price"]));
    }

    #[test]
    fn a_grant_is_for_what_it_names_and_nothing_that_looks_like_it() {
        for (grants, name, expected) in [
            (&["shop/prices/get"][..], ["shop", "prices", "get"], true),
            (&["shop/prices/get"], ["shop", "prices", "set"], false),
            (&["shop/prices/get"], ["shop", "prices", "get2"], false),
            (&["shop/prices/get"], ["Shop", "prices", "get"], false),
            (&["shop/prices/*"], ["shop", "prices", "set"], true),
            (&["shop/prices/*"], ["shop", "prices", ""], true),
            (&["shop/prices/*"], ["shop", "price", "s/get"], false),
            (&["shop/prices/*"], ["shop/prices", "", "get"], false),
            (&["shop/prices/*"], ["shop", "prices/x", "get"], false),
            (&["redis/*/GET"], ["redis", "any", "GET"], true),
            (&["redis/*/GET"], ["redis", "any", "GETSET"], false),
            (&["redis/*/GET"], ["redis2", "any", "GET"], false),
            (&["tidepool/actor/room/*"], ["tidepool", "actor", "room/5/post"], true),
            (&["tidepool/actor/room/*"], ["tidepool", "actor", "rooms/5/post"], false),
            (&["tidepool/function/shop-*"], ["tidepool", "function", "shop-cart"], true),
            (&["tidepool/function/shop-*"], ["tidepool", "function", "shop"], false),
            (&["a/b/c", "d/e/f"], ["d", "e", "f"], true),
            (&["a/b/c", "d/e/f"], ["a", "e", "f"], false),
            (&["none"], ["a", "b", "c"], false),
            (&["none"], ["none", "", ""], false),
            (&["*"], ["a", "b", "c"], true),
            (&["*", "a/b/c"], ["d", "", ""], true),
            (&["*/*/*"], ["", "", ""], true),
            (&["//"], ["", "", ""], true),
            (&["//"], ["a", "", ""], false),
        ] {
            assert_eq!(allows(grants, name), expected, "{grants:?} {name:?}");
        }
    }

    #[test]
    fn a_list_that_can_not_be_meant_is_refused() {
        let (long, many) = (format!("a/b/{}", "c".repeat(MAX_BYTES)), vec!["a/b/c"; MAX_GRANTS + 1]);
        for texts in [&[][..], &["shop"], &["shop/prices"], &["none", "a/b/c"], &["none", "*"], &[&long], &many, &[""]]
        {
            assert!(HostGrants::parse(texts.iter().copied()).is_err(), "{texts:?}");
        }
    }
}
