//! `oci://HOST[:PORT]/NAME:TAG`, by the distribution specification of the OCI.

use std::fmt;

use super::RegistryError;

/// How references begin.
pub(crate) const SCHEME: &str = "oci://";
/// The longest name of a repository.
const NAME_BYTES: usize = 255;
/// The longest tag.
const TAG_BYTES: usize = 128;

/// What something is called in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The host, in lower case, with its port if one is named.
    pub(crate) registry: String,
    /// The name.
    pub(crate) repository: String,
    /// The tag.
    pub(crate) tag: String,
}

impl Reference {
    /// Reads one that has a tag, and no digest: that is not known before something is pushed.
    ///
    /// # Errors
    ///
    /// For what is none.
    pub(crate) fn parse(text: &str) -> Result<Self, RegistryError> {
        let wrong = || RegistryError::Reference { text: text.to_owned() };
        let (registry, rest) = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let Some((repository, tag)) = rest.rsplit_once(':') else {
            let is_whole = is_registry(registry) && is_repository(rest);
            return Err(if is_whole { RegistryError::NoTag { text: text.to_owned() } } else { wrong() });
        };
        if !is_registry(registry) || !is_repository(repository) || !is_tag(tag) {
            return Err(wrong());
        }
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        Ok(Self { registry: registry.to_ascii_lowercase(), repository, tag })
    }

    /// Whether its registry is one of this machine, by what it is called: such a one speaks in the clear.
    pub(crate) fn is_local(&self) -> bool {
        let host = self
            .registry
            .rsplit_once(':')
            .filter(|(_host, port)| is_port(port))
            .map_or(self.registry.as_str(), |it| it.0);
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let ends = |text: &str| text.starts_with(['.', '-']) || text.ends_with(['.', '-']);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = address.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    ((name && !ends(host)) || address) && port.is_none_or(is_port)
}

fn is_repository(text: &str) -> bool {
    text.len() <= NAME_BYTES && text.split('/').all(is_component)
}

/// Letters and digits, with one dot, one or two underscores or any dashes between them.
fn is_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let between = |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-');
    let bytes = text.as_bytes();
    let ends = bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
    ends && bytes.split(|byte| word(*byte)).filter(|run| !run.is_empty()).all(between)
}

fn is_tag(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first
        && text.len() <= TAG_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_they_are_written_and_what_is_none_is_refused() {
        for text in
            ["oci://a/b:1", "oci://localhost:5000/a/b-c.d__e:v1.2", "oci://[::1]:80/a:_x", "oci://ghcr.io/team/a:A"]
        {
            assert_eq!(Reference::parse(text).ok().map(|read| read.to_string()).as_deref(), Some(text));
        }
        let digest = format!("oci://a/b@sha256:{}", "0a".repeat(32));
        for text in [
            "a/b:1",
            "oci://a/b",
            "oci://a:1",
            "oci://a/B:1",
            "oci://a/../b:1",
            "oci://a//b:1",
            "oci://u@a/b:1",
            "oci:///b:1",
            "oci://a:0/b:1",
            "oci://a/b:",
            "oci://a/b:-1",
            "oci://a/b:x/y",
            "oci://a/-b:1",
            "oci://a/b..c:1",
            "oci://a?/b:1",
            "http://a/b:1",
            "oci://[x]/b:1",
            &digest,
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reference_that_lacks_its_tag_alone_is_told_what_to_add() {
        let said = |text: &str| Reference::parse(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(
            said("oci://ghcr.io/team/calc"),
            "`oci://ghcr.io/team/calc` has no tag: write it behind a colon, as in oci://ghcr.io/team/calc:1"
        );
        for text in ["oci://ghcr.io/Team/calc", "oci://ghcr.io", "ghcr.io/team/calc"] {
            assert!(said(text).ends_with("write oci://HOST/NAME:TAG"), "{text}");
        }
    }

    #[test]
    fn a_registry_of_this_machine_is_known_by_its_name() {
        for (registry, local) in
            [("localhost", true), ("127.0.0.2:5000", true), ("[::1]:1", true), ("localhost.example:1", false)]
        {
            let read = Reference::parse(&format!("oci://{registry}/a:1"));
            assert_eq!(read.ok().map(|read| read.is_local()), Some(local), "{registry}");
        }
    }
}
