//! `tidepool members`: the nodes that keep actors together.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::commands::members::{list, number, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::Path;
use crate::output::{Table, escape};

/// How long a change may take. The node answers within it: one that is added gets all that there is, for ten minutes at most, one that is
/// removed hands its actors over first, and the members are asked for before and after that.
const CHANGE: Duration = Duration::from_secs(640);

/// `tidepool members`
#[derive(Debug, Args)]
pub(crate) struct Members {
    #[command(subcommand)]
    change: Option<Change>,
}

/// How they change.
#[derive(Debug, Subcommand)]
enum Change {
    /// Have a node that waits get all that there is, and vote
    Add(Of),
    /// Have a node vote no more, whether it is there or not
    Remove(Of),
    /// Have a node vote with the folder that it has now, where the one before is lost
    Replace(Of),
}

/// Which node.
#[derive(Debug, Args)]
struct Of {
    /// Its full name: `d@10.0.0.4`
    node: String,
}

impl Members {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let (node, path) = (context.node()?, Path::of(&["members"]));
        let change = match &self.change {
            None => None,
            Some(Change::Add(of)) => Some(("add", of)),
            Some(Change::Remove(of)) => Some(("remove", of)),
            Some(Change::Replace(of)) => Some(("replace", of)),
        };
        let answer = match change {
            None => node.get(&path)?,
            Some((how, Of { node: of })) => {
                let body = json!({ how: of }).to_string().into_bytes();
                node.post_within(&path, "application/json", body, CHANGE)?.1
            }
        };
        Ok(context.output.say(&answer, || table(&answer))?)
    }
}

fn table(answer: &Value) -> String {
    let mut table = Table::new(&["node", "is", "answers", "lacks"]);
    for member in list(answer, "members") {
        let is = |what| member.get(what).and_then(Value::as_bool) == Some(true);
        let part = match (is("leads"), is("votes")) {
            (true, _) => "the leader",
            (false, true) => "a voter",
            (false, false) => "catching up",
        };
        let answers = if is("answers") { "yes" } else { "no" };
        let lacks = match number(member, "lacks") {
            Some(0) => "nothing".to_owned(),
            Some(entries) => format!("{entries} entries"),
            None => "-".to_owned(),
        };
        table.row([text(member, "node"), part.to_owned(), answers.to_owned(), lacks]);
    }
    let problem = |member: &Value| {
        let problem = member.get("problem").and_then(Value::as_str)?;
        Some(format!("{}: {}", escape(&text(member, "node")), escape(problem)))
    };
    let problems = list(answer, "members").iter().filter_map(problem);
    std::iter::once(table.text()).chain(problems).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_with_what_they_are_and_below_them_what_is_wrong() {
        // The last is of a release before, which says less.
        let told = table(&json!({ "members": [
            { "node": "a@h", "votes": true, "leads": true, "answers": true, "lacks": 0, "problem": null },
            { "node": "b@h", "votes": true, "leads": false, "answers": false, "lacks": null, "problem": "b@h is not to be reached: start it" },
            { "node": "c@h", "votes": false, "leads": false, "answers": true, "lacks": 7, "problem": null },
            { "node": "d@h" },
        ] }));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = told.lines().skip(1).map(words).collect();
        assert_eq!(
            lines,
            [
                "a@h the leader yes nothing",
                "b@h a voter no -",
                "c@h catching up yes 7 entries",
                "d@h catching up no -",
                "b@h: b@h is not to be reached: start it"
            ]
        );
    }
}
