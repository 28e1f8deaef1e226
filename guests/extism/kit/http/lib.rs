//! Requests to servers.

use std::collections::BTreeMap;

use extism_pdk::*;

#[link(wasm_import_module = "extism:host/env")]
extern "C" {
    // The crate has this from a later version on.
    fn http_headers() -> u64;
}

#[derive(serde::Deserialize)]
struct Asked {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
}

#[derive(serde::Serialize)]
struct Told {
    status: u16,
    headers: json::Value,
    body: String,
}

#[plugin_fn]
pub fn get(url: String) -> FnResult<Vec<u8>> {
    Ok(http::request::<()>(&HttpRequest::new(url), None)?.body())
}

/// A request of any kind, and all that is told of its response.
#[plugin_fn]
pub fn send(Json(asked): Json<Asked>) -> FnResult<Json<Told>> {
    let mut request = HttpRequest::new(asked.url);
    request.method = asked.method;
    for (name, value) in asked.headers {
        request = request.with_header(name, value);
    }
    let response = http::request(&request, asked.body)?;
    let headers = Memory::from(unsafe { http_headers() }).to_vec();
    Ok(Json(Told {
        status: response.status_code(),
        headers: json::from_slice(&headers).unwrap_or_default(),
        body: String::from_utf8_lossy(&response.body()).into_owned(),
    }))
}

/// Two requests, of which the second is told of last.
#[plugin_fn]
pub fn twice(urls: String) -> FnResult<String> {
    let mut told = Vec::new();
    for url in urls.lines() {
        let response = http::request::<()>(&HttpRequest::new(url), None)?;
        told.push(format!("{}: {}", response.status_code(), response.body().len()));
    }
    Ok(told.join(", "))
}
