//! The variables of the environment that the tool reads, and slips of their names: without a word about one, another node would be
//! asked than the one that was named, or without its token.

use std::env;

use crate::failure::Failure;

/// The tool's own.
const OWN: [&str; 4] = ["TIDEPOOL_CA", "TIDEPOOL_TOKEN", "TIDEPOOL_TOOLCHAINS", "TIDEPOOL_URL"];

/// Looks for slips in the environment, and tells of all that there are.
///
/// # Errors
///
/// When there is one. All other names pass, those of a node's variables among them: it may be started from the same shell.
pub(crate) fn check() -> Result<(), Failure> {
    let names = env::vars_os().filter_map(|(name, _value)| name.into_string().ok());
    let mut slips: Vec<(String, &str)> = names.filter_map(|name| meant(&name).map(|own| (name, own))).collect();
    slips.sort_unstable();
    let said = match slips.as_slice() {
        [] => return Ok(()),
        [(name, own)] => format!("the variable {name} is unknown: did you mean {own}?"),
        several => {
            let each: Vec<String> = several.iter().map(|(name, own)| format!("{name} (did you mean {own}?)")).collect();
            format!("the variables {} are unknown", each.join(", "))
        }
    };
    Err(Failure::Variables { said })
}

/// The tool's variable that has the name but for a letter, or for the case. Names of others begin with another letter, and a
/// number is on purpose: who has a second node may keep its address in a variable of that name with a 2.
fn meant(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let is_near = upper.starts_with(['T', 'I']) && !upper.contains(|letter: char| letter.is_ascii_digit());
    if !is_near || OWN.contains(&name) {
        return None;
    }
    OWN.into_iter().find(|own| strsim::osa_distance(own, &upper) <= 1)
}
