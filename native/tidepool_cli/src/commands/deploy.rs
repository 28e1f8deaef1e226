//! `tidepool deploy`, and how a module gets to a node.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::access::sign::Signing;
use super::members::text;
use super::project::build::{Project, build};
use crate::context::{Context, read};
use crate::failure::Failure;
use crate::node::{Form, Node, Path};
use crate::output::{Progress, escape};
use crate::project::{Manifest, module};
use crate::registry::SCHEME;

/// `tidepool deploy`
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// A module, or oci://HOST/NAME:TAG for one that the node fetches; without one the project is built and deployed
    file: Option<PathBuf>,
    #[command(flatten)]
    project: Project,
    /// Deploy what the last build of the project has made
    #[arg(long, conflicts_with = "file")]
    no_build: bool,
    /// The function's name [default: the project's, or the file's]
    #[arg(long)]
    name: Option<String>,
    /// A field of the deploy, such as instances=warm:8 or label=team:shop; it replaces those of tidepool.toml
    #[arg(long, short = 'F', value_name = "NAME=VALUE")]
    field: Vec<String>,
    #[command(flatten)]
    signing: Signing,
    /// Wait until other nodes can serve it, too
    #[arg(long, value_enum)]
    wait: Option<Wait>,
    /// How long to wait for other nodes [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "wait")]
    wait_timeout: Option<Duration>,
}

/// A field of a deploy: its name, and its text.
pub(crate) type Field = (String, String);
pub(crate) type Fields = Vec<Field>;

/// Which nodes have to be able to serve a version.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Wait {
    /// The one that is asked
    Local,
    /// Most of the cluster
    Majority,
    /// All that can be reached
    All,
}

impl Wait {
    fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Majority => "majority",
            Self::All => "all",
        }
    }
}

impl Deploy {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let node = context.node()?;
        let given = self.given()?;
        let (module, fields) = match &self.file {
            Some(file) => match file.to_str().filter(|file| file.starts_with(SCHEME)) {
                Some(reference) => (None, vec![("ref".to_owned(), reference.to_owned())]),
                None => (Some(read(file)?), self.of_file(file)),
            },
            None => self.of_project(context).map(|(module, fields)| (Some(module), fields))?,
        };
        let kept = fields.into_iter().filter(|(name, _value)| given.iter().all(|(other, _)| other != name));
        let fields: Fields = kept.chain(given.iter().cloned()).collect();
        let fields = match &module {
            Some(module) => signed(&self.signing, fields, module)?,
            None if self.signing.is_named() => return Err(Failure::SignedElsewhere),
            None => fields,
        };
        let (status, answer, took) = {
            let _progress = (!context.output.is_json()).then(|| Progress::of("deploying".to_owned()));
            send(&node, &self.path(), &fields, module.as_deref())?
        };
        Ok(context.output.say(&answer, || outcome(status, &answer, took))?)
    }

    fn given(&self) -> Result<Fields, Failure> {
        let mut fields = Vec::new();
        for field in &self.field {
            let wrong = || Failure::Field { field: field.clone() };
            let (name, value) = field.split_once('=').ok_or_else(wrong)?;
            if !Form::is_name(name) || name == "wasm" || name == "name" {
                return Err(wrong());
            }
            fields.push((name.to_owned(), value.to_owned()));
        }
        fields.extend(self.name.iter().map(|name| ("name".to_owned(), name.clone())));
        Ok(fields)
    }

    /// A file is called after its name without `.wasm`.
    fn of_file(&self, file: &std::path::Path) -> Fields {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        vec![("name".to_owned(), name.strip_suffix(".wasm").unwrap_or(&name).to_owned())]
    }

    fn of_project(&self, context: &Context) -> Result<(Vec<u8>, Fields), Failure> {
        let folder = &self.project.project;
        let manifest = Manifest::read(folder)?;
        let wasm =
            if self.no_build { module(folder, &manifest)? } else { build(context.output, folder, &manifest)?.wasm };
        Ok((wasm, fields(&manifest)?))
    }

    fn path(&self) -> Path {
        let path = Path::of(&["deploy"]);
        let path = self.wait.iter().fold(path, |path, wait| path.with("wait", wait.word()));
        let ms = self.wait_timeout.map(|time| time.as_millis().to_string());
        ms.iter().fold(path, |path, ms| path.with("wait_timeout", ms))
    }
}

/// The fields of a project's deploy.
///
/// # Errors
///
/// For what no form can hold.
pub(crate) fn fields(manifest: &Manifest) -> Result<Fields, Failure> {
    let mut fields = manifest.fields()?;
    fields.push(("name".to_owned(), manifest.name.clone()));
    Ok(fields)
}

/// The fields with the signature of a module, if a key was named: it takes the place of one that was given.
///
/// # Errors
///
/// When the key can't be used.
pub(crate) fn signed(signing: &Signing, mut fields: Fields, wasm: &[u8]) -> Result<Fields, Failure> {
    if let Some(signature) = signing.of(wasm)? {
        fields.retain(|(name, _value)| name != "signature");
        fields.push(("signature".to_owned(), signature));
    }
    Ok(fields)
}

/// Sends a module, or none where a field says where it is: the status, the function, and how long it took.
///
/// # Errors
///
/// When the node refuses it; the version before goes on then.
pub(crate) fn send(
    node: &Node,
    path: &Path,
    fields: &[Field],
    wasm: Option<&[u8]>,
) -> Result<(u16, Value, Duration), Failure> {
    node.takes(wasm.map_or(0, <[u8]>::len))?;
    let mut form = Form::new();
    for (name, value) in fields {
        form.text(name, value);
    }
    if let Some(wasm) = wasm {
        form.wasm(wasm);
    }
    let (kind, body) = form.end();
    let began = Instant::now();
    let (status, answer) = node.post(path, &kind, body)?;
    Ok((status, answer, began.elapsed()))
}

/// Imports that nobody answers which are named, at most.
const NAMED: usize = 8;

/// What came of a deploy, in a line, and in others why its instances are fresh ones all the same, and what of it nobody answers.
pub(crate) fn outcome(status: u16, answer: &Value, took: Duration) -> String {
    let (name, version) = (escape(&text(answer, "name")), escape(&text(answer, "version")));
    let ms = took.as_millis();
    let said = if status == 201 {
        format!("{name} is version {version}, after {ms} ms")
    } else {
        format!("{name} is version {version} as before: nothing has changed")
    };
    let fresh = answer.get("instances_reason").and_then(Value::as_str);
    let fresh = fresh.map(|why| format!("\neach request has an instance of its own: {}", escape(why)));
    let unanswered = unanswered(answer).map(|imports| {
        format!("\nnobody answers {imports}, or `host` does not grant it: calls end where they ask for it")
    });
    [Some(said), fresh, unanswered].into_iter().flatten().collect()
}

fn unanswered(answer: &Value) -> Option<String> {
    let all: Vec<&str> = answer.get("unanswered")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let more = all.len().saturating_sub(NAMED);
    let names: Vec<String> = all.iter().take(NAMED).map(|name| escape(name)).collect();
    match (names.len(), more) {
        (0, _) => None,
        (_, 0) => Some(names.join(", ")),
        _ => Some(format!("{} and {more} more", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn imports_that_nobody_answers_are_named_after_a_deploy_and_the_rest_of_many_counted() {
        let said = |unanswered: Value| {
            let answer = json!({"name": "shop", "version": 2, "unanswered": unanswered});
            outcome(201, &answer, Duration::from_millis(7))
        };
        assert_eq!(said(json!([])), "shop is version 2, after 7 ms");
        let one = "\nnobody answers wit/docs:a/b/c\\n, or `host` does not grant it: calls end where they ask for it";
        assert_eq!(said(json!(["wit/docs:a/b/c\n"])), format!("shop is version 2, after 7 ms{one}"));
        let many: Vec<String> = (0..10).map(|number| format!("import/env/f{number}")).collect();
        assert!(
            said(json!(many))
                .ends_with("import/env/f7 and 2 more, or `host` does not grant it: calls end where they ask for it")
        );
    }

    #[test]
    fn what_keeps_a_function_from_warm_instances_is_said_after_its_deploy() {
        let answer = json!({"name": "shop", "version": 2, "instances_reason": "the second of two requests\nfailed"});
        assert_eq!(
            outcome(201, &answer, Duration::from_millis(7)),
            "shop is version 2, after 7 ms\neach request has an instance of its own: the second of two requests\\nfailed"
        );
    }
}
