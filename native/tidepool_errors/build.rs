//! Makes `enum Reason` of `errors.tsv`, whose head says what its columns are. A row that lacks one does not compile.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const TABLE: &str = "errors.tsv";

/// A reason, and the rows of its kinds below it.
struct Row<'a> {
    name: &'a str,
    fields: [&'a str; 9],
    kinds: Vec<[&'a str; 3]>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={TABLE}");
    let text = fs::read_to_string(TABLE)?;
    let rows = rows(&text)?;
    let out = env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?;
    Ok(fs::write(Path::new(&out).join("reason.rs"), source(&rows)?)?)
}

fn rows(text: &str) -> Result<Vec<Row<'_>>, String> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        match (fields.as_slice(), rows.last_mut()) {
            (&[name, status, retry], Some(row)) => match name.split_once(':') {
                Some((reason, kind)) if reason == row.name => row.kinds.push([kind, status, retry]),
                _ => return Err(format!("{TABLE}: {name} is not below the reason that it is a kind of")),
            },
            (&[name, ref others @ ..], _) => {
                let fields = others.try_into().map_err(|_| format!("{TABLE}: {name} has not all columns"))?;
                rows.push(Row { name, fields, kinds: Vec::new() });
            }
            _ => return Err(format!("{TABLE}: an empty row")),
        }
    }
    Ok(rows)
}

fn source(rows: &[Row<'_>]) -> Result<String, Box<dyn Error>> {
    let (mut variants, mut all, mut outcomes, mut arms) = (String::new(), String::new(), String::new(), String::new());
    for row in rows {
        let [told_of, status, retry, outcome, marks, exit, _members, meaning, hint] = row.fields;
        let (name, variant) = (row.name, camel(row.name));
        let kinds: Vec<String> = row
            .kinds
            .iter()
            .map(|[kind, status, retry]| Ok(format!("({kind:?}, {}, {})", number(status)?, one("Retry", retry)?)))
            .collect::<Result<_, String>>()?;
        let status = if row.kinds.is_empty() { format!("Some({})", number(status)?) } else { only(status, "None")? };
        let retry = if row.kinds.is_empty() { one("Retry", retry)? } else { only(retry, "Retry::Never")? };
        if outcome == name {
            write!(outcomes, "Reason::{variant}, ")?;
        }
        let outcome = if outcome == "-" { "None".to_owned() } else { format!("Some({})", one("Reason", outcome)?) };
        let hint = if hint.is_empty() { "None".to_owned() } else { format!("Some({hint:?})") };
        let exit: u8 = exit.parse()?;
        writeln!(variants, "    #[doc = {:?}]\n    {variant},", format!("`{name}`: {meaning}."))?;
        write!(all, "Reason::{variant}, ")?;
        writeln!(
            arms,
            "        Reason::{variant} => &Row {{ name: {name:?}, told_of: &[{}], status: {status}, retry: {retry}, \
             outcome: {outcome}, marks: &[{}], exit: {exit}, hint: {hint}, kinds: &[{}] }},",
            several("Subject", told_of),
            several("Mark", marks),
            kinds.join(", ")
        )?;
    }
    Ok(format!(
        "/// Every reason that an error can have.\n#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]\n\
         pub enum Reason {{\n{variants}}}\n\n\
         const ALL: &[Reason] = &[{all}];\n\nconst OUTCOMES: &[Reason] = &[{outcomes}];\n\n\
         const fn row(reason: Reason) -> &'static Row {{\n    match reason {{\n{arms}    }}\n}}\n"
    ))
}

/// What there is in the place of a field that is written in the rows of kinds.
fn only(field: &str, instead: &str) -> Result<String, String> {
    if field == "-" {
        Ok(instead.to_owned())
    } else {
        Err(format!("{TABLE}: {field} is up to the kinds of its reason"))
    }
}

/// The exclamation mark is for Elixir.
fn number(status: &str) -> Result<u16, String> {
    status.trim_end_matches('!').parse().map_err(|_| format!("{TABLE}: {status} is no status"))
}

fn one(of: &str, name: &str) -> Result<String, String> {
    if name.is_empty() { Err(format!("{TABLE}: a row lacks its {of}")) } else { Ok(format!("{of}::{}", camel(name))) }
}

fn several(of: &str, names: &str) -> String {
    names.split_whitespace().map(|name| format!("{of}::{}", camel(name))).collect::<Vec<_>>().join(", ")
}

fn camel(name: &str) -> String {
    name.split('_')
        .flat_map(|word| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)))
        .collect()
}
