//! A plug-in of Extism, by Extism's own crate: it counts vowels, and tells of tides what the host knows.

use extism_pdk::*;

const VOWELS: &str = "aeiouAEIOU";

#[derive(serde::Serialize)]
struct Vowels {
    count: usize,
    /// Of all calls of this instance.
    total: usize,
    vowels: String,
}

/// What is a vowel is configured, and how many there were is kept in a variable.
#[plugin_fn]
pub fn count_vowels(text: String) -> FnResult<Json<Vowels>> {
    let vowels = config::get("vowels")?.unwrap_or_else(|| VOWELS.into());
    let count = text.chars().filter(|letter| vowels.contains(*letter)).count();
    let before: Option<String> = var::get("total")?;
    let total = before.and_then(|total| total.parse().ok()).unwrap_or(0) + count;
    var::set("total", total.to_string())?;
    info!("{} of {} letters", count, text.chars().count());
    Ok(Json(Vowels { count, total, vowels }))
}

#[plugin_fn]
pub fn echo(bytes: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(bytes)
}

#[host_fn]
extern "ExtismHost" {
    fn tide(harbour: String) -> String;
}

/// Asks the host.
#[plugin_fn]
pub fn tide_at(harbour: String) -> FnResult<String> {
    let height = unsafe { tide(harbour.clone())? };
    Ok(format!("{harbour}: {height}"))
}

/// An error, as Extism has them.
#[plugin_fn]
pub fn fails(text: String) -> FnResult<()> {
    Err(WithReturnCode::new(Error::msg(format!("no tide today: {text}")), 7))
}

/// Asks a server for something.
#[plugin_fn]
pub fn fetches(url: String) -> FnResult<Vec<u8>> {
    let response = http::request::<()>(&HttpRequest::new(url), None)?;
    Ok(response.body())
}
