//! `tidepool actor`: instances with names.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::call::{Payload, call};
use super::members::{all, list, shown, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::Path;

/// `tidepool actor`
#[derive(Debug, Subcommand)]
pub(crate) enum Actor {
    /// Call an actor, which makes it if there is none
    Call(Call),
    /// List the actors of a class that are kept
    List(List),
    /// Show what is known of an actor
    Show(Named),
    /// End an actor, and all that is kept of it
    Rm(Named),
}

/// `tidepool actor call`
#[derive(Debug, Args)]
pub(crate) struct Call {
    #[command(flatten)]
    actor: Named,
    /// Which operation
    operation: String,
    #[command(flatten)]
    payload: Payload,
}

/// `tidepool actor list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The function that is their class
    class: String,
    /// Go on after the 1,000 that came before: the `next` that these ended with
    #[arg(long, value_name = "NEXT")]
    from: Option<String>,
}

/// An actor.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The function that is its class
    class: String,
    /// Its name
    name: String,
}

impl Named {
    fn path(&self) -> Path {
        Path::of(&["actors", &self.class, &self.name])
    }
}

impl Actor {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Call(Call { actor, operation, payload }) => {
                call(context, &Path::of(&["actors", &actor.class, &actor.name, operation]), payload)
            }
            Self::List(List { class, from }) => {
                let path = Path::of(&["actors", class]);
                let path = from.iter().fold(path, |path, from| path.with("from", from));
                let answer = context.node()?.get(&path)?;
                Ok(context.output.say(&answer, || names(&answer))?)
            }
            Self::Show(actor) => {
                let answer = context.node()?.get(&actor.path())?;
                Ok(context.output.say(&answer, || all(&answer))?)
            }
            Self::Rm(actor) => {
                let answer = context.node()?.delete(&actor.path())?;
                Ok(context.output.say(&answer, || format!("{} is ended", actor.name))?)
            }
        }
    }
}

fn names(answer: &Value) -> String {
    let name = |actor: &Value| match actor {
        Value::Object(_) => text(actor, "name"),
        actor => shown(actor),
    };
    let mut lines: Vec<String> =
        list(answer, "actors").iter().map(|actor| crate::output::escape(&name(actor))).collect();
    if let Some(next) = answer.get("next").and_then(Value::as_str) {
        lines.push(format!("and more: --from {}", crate::output::escape(next)));
    }
    if lines.is_empty() { "none is kept".to_owned() } else { lines.join("\n") }
}
