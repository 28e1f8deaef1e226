//! Pushing to one registry: no redirect is followed, no proxy is asked, and what lets the tool in goes to the registry alone. The login
//! goes to where the registry says that tokens are to be had, by TLS, or to the registry itself.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Request, Response, Uri};
use ureq::{Agent, Body};

use super::{Logins, Reference, RegistryError};
use crate::node::{Authorities, Path, agent};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// How components go on after what all modules begin with: their version, and that they are none that the core specification has.
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
const BYTES: &str = "application/octet-stream";
/// The longest answer that is read, which is one with a token.
const ANSWER_BYTES: u64 = 64 << 10;
/// How long a registry may take to be connected to.
const CONNECT: Duration = Duration::from_secs(10);

/// A registry, for one module that is pushed to it.
#[derive(Debug)]
pub(crate) struct Registry {
    reference: Reference,
    base: String,
    agent: Agent,
    timeout: Duration,
    login: Option<String>,
    authorization: Option<String>,
}

/// An answer of a registry.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Registry {
    /// The registry of a reference. `authorities` vouch for it, if they are named, and else those that all know; `timeout` is for each
    /// request. Whether it is spoken to in the clear is `plain`, and without that whether it is one of this machine.
    pub(crate) fn new(
        reference: Reference,
        logins: &Logins,
        plain: Option<bool>,
        authorities: Option<Authorities>,
        timeout: Duration,
    ) -> Self {
        let agent = agent(authorities, CONNECT);
        let scheme = if plain.unwrap_or_else(|| reference.is_local()) { "http" } else { "https" };
        // What is called docker.io answers as this.
        let host = if reference.registry == "docker.io" { "registry-1.docker.io" } else { &reference.registry };
        let login = logins.basic(&reference.registry);
        Self { base: format!("{scheme}://{host}"), agent, timeout, login, authorization: None, reference }
    }

    /// Pushes a module as an artifact with one layer, as the CNCF's working group has written down how; the digest of its manifest.
    ///
    /// # Errors
    ///
    /// Whatever keeps the registry from taking it.
    pub(crate) fn push(mut self, module: &[u8]) -> Result<String, RegistryError> {
        let layer = digest(module);
        let os = if module.get(4..8) == Some(COMPONENT) { "wasip2" } else { "wasip1" };
        // The time is none, so that the same module has the same digest whoever pushes it, and when.
        let config = json!({
            "created": "1970-01-01T00:00:00Z", "architecture": "wasm", "os": os, "layerDigests": [layer],
        });
        let config = config.to_string();
        self.blob(&layer, module, "the module")?;
        self.blob(&digest(config.as_bytes()), config.as_bytes(), "the module's description")?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": digest(config.as_bytes()), "size": config.len() },
            "layers": [{ "mediaType": LAYER, "digest": layer, "size": module.len() }],
        });
        let manifest = manifest.to_string();
        let url = self.url(&format!("manifests/{}", self.reference.tag));
        let answer = self.ask("PUT", &url, MANIFEST, manifest.as_bytes())?;
        if answer.status != 201 {
            return Err(self.refused("the manifest", answer.status));
        }
        let pushed = digest(manifest.as_bytes());
        match header(&answer.headers, "docker-content-digest") {
            Some(told) if told != pushed => Err(self.nonsense("it has another manifest than it was sent")),
            _ => Ok(pushed),
        }
    }

    /// One that the registry has is not sent again.
    fn blob(&mut self, digest: &str, bytes: &[u8], what: &'static str) -> Result<(), RegistryError> {
        let url = self.url(&format!("blobs/{digest}"));
        if self.ask("HEAD", &url, BYTES, &[])?.status == 200 {
            return Ok(());
        }
        let url = self.url("blobs/uploads/");
        let answer = self.ask("POST", &url, BYTES, &[])?;
        if answer.status != 202 {
            return Err(self.refused(what, answer.status));
        }
        let location = header(&answer.headers, "location").and_then(|location| self.place(location));
        let Some(location) = location else { return Err(self.nonsense("it says of no place to upload to")) };
        let mark = if location.contains('?') { '&' } else { '?' };
        let answer = self.ask("PUT", &format!("{location}{mark}digest={digest}"), BYTES, bytes)?;
        if answer.status == 201 { Ok(()) } else { Err(self.refused(what, answer.status)) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.base, self.reference.repository)
    }

    /// Where a registry has something uploaded to: at itself, or elsewhere by TLS.
    fn place(&self, location: &str) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(format!("{}{location}", self.base));
        }
        (self.is_own(location) || location.starts_with("https://")).then(|| location.to_owned())
    }

    fn is_own(&self, url: &str) -> bool {
        let (Ok(url), Ok(base)) = (url.parse::<Uri>(), self.base.parse::<Uri>()) else { return false };
        url.scheme() == base.scheme() && url.authority() == base.authority()
    }

    fn ask(&mut self, method: &str, url: &str, kind: &str, body: &[u8]) -> Result<Answer, RegistryError> {
        let answer = self.send(method, url, Some(kind), body, self.authorization.as_deref())?;
        if answer.status != 401 || self.authorization.is_some() || !self.is_own(url) {
            return Ok(answer);
        }
        self.authorization = Some(self.authorize(&answer.headers)?);
        self.send(method, url, Some(kind), body, self.authorization.as_deref())
    }

    /// What is sent to be let in: the login, or a token that is to be had for it.
    fn authorize(&self, headers: &HeaderMap) -> Result<String, RegistryError> {
        for challenge in headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok()) {
            let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
            match (scheme.to_ascii_lowercase().as_str(), &self.login) {
                ("basic", Some(login)) => return Ok(login.clone()),
                ("bearer", _) => return self.token(parameters),
                _ => {}
            }
        }
        Err(self.denied())
    }

    fn token(&self, parameters: &str) -> Result<String, RegistryError> {
        let Some(realm) = parameter(parameters, "realm") else { return Err(self.no_token()) };
        if !self.is_own(realm) && !realm.starts_with("https://") {
            return Err(self.no_token());
        }
        let scope = format!("repository:{}:pull,push", self.reference.repository);
        let query = Path::of(&[]).with("scope", &scope);
        let query =
            parameter(parameters, "service").into_iter().fold(query, |query, service| query.with("service", service));
        let query = query.as_str().trim_start_matches('?');
        let mark = if realm.contains('?') { '&' } else { '?' };
        let answer = self.send("GET", &format!("{realm}{mark}{query}"), None, &[], self.login.as_deref())?;
        match answer.status {
            200 => {}
            401 | 403 => return Err(self.denied()),
            status => return Err(self.refused("to give a token", status)),
        }
        let answer: Value = serde_json::from_slice(&answer.body).map_err(|_no_json| self.no_token())?;
        let token = answer.get("token").or_else(|| answer.get("access_token")).and_then(Value::as_str);
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        token.map(|token| format!("Bearer {token}")).ok_or_else(|| self.no_token())
    }

    fn send(
        &self,
        method: &str,
        url: &str,
        kind: Option<&str>,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<Answer, RegistryError> {
        let failed = |source| RegistryError::Unreachable { registry: self.base.clone(), source: Box::new(source) };
        let mut request = Request::builder().method(method).uri(url);
        // Elsewhere than at the registry, what lets in there is for nobody, but for where tokens are to be had.
        if let Some(authorization) = authorization.filter(|_| kind.is_none() || self.is_own(url)) {
            request = request.header("authorization", authorization);
        }
        let sent = match kind.filter(|_| method != "HEAD") {
            None => request.body(()).map_err(ureq::Error::Http).and_then(|request| self.run(request)),
            Some(kind) => {
                let request = request.header("content-type", kind).body(body);
                request.map_err(ureq::Error::Http).and_then(|request| self.run(request))
            }
        };
        let mut response = sent.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // What is said beside is for nobody.
        let wanted = status == 200 && method == "GET";
        let body = if wanted {
            response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec().map_err(failed)?
        } else {
            Vec::new()
        };
        Ok(Answer { status, headers, body })
    }

    fn run<S: ureq::AsSendBody>(&self, request: Request<S>) -> Result<Response<Body>, ureq::Error> {
        self.agent.run(self.agent.configure_request(request).timeout_global(Some(self.timeout)).build())
    }

    fn refused(&self, what: &'static str, status: u16) -> RegistryError {
        match status {
            401 | 403 => self.denied(),
            status => RegistryError::Refused { registry: self.base.clone(), what, status },
        }
    }

    fn denied(&self) -> RegistryError {
        RegistryError::Denied { registry: self.base.clone(), known: self.login.is_some() }
    }

    fn no_token(&self) -> RegistryError {
        self.nonsense("it says of no place where a token is to be had")
    }

    fn nonsense(&self, what: &'static str) -> RegistryError {
        RegistryError::Nonsense { registry: self.base.clone(), what }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The value of a parameter of a challenge, which is in quotes.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        if key.trim_start_matches([',', ' ']).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
    None
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
