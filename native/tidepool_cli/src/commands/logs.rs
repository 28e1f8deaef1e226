//! `tidepool logs`: what a function prints.

use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use super::members::{list, number, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::{Node, Path};
use crate::output::escape;

/// After how long a stream that broke off is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// After how long one that ended.
const SOON: Duration = Duration::from_millis(200);

/// `tidepool logs`
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Which function
    name: String,
    /// Go on with what it prints from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest lines are shown at first
    #[arg(short = 'n', long, default_value_t = 20, value_name = "LINES", value_parser = clap::value_parser!(u16).range(1..=500))]
    lines: u16,
}

impl Logs {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let node = context.node()?;
        let lines = self.lines.to_string();
        let kept = Path::of(&["functions", &self.name, "logs"]).with("limit", &lines);
        if !self.follow {
            let answer = node.get(&kept)?;
            let text = || list(&answer, "lines").iter().map(line).collect::<Vec<_>>().join("\n");
            return Ok(context.output.say(&answer, text)?);
        }
        // Whether there is such a function is said by the list, and not by a stream of what it may print one day.
        node.get(&Path::of(&["functions", &self.name]))?;
        let topics = Path::of(&["events"]).with("topics", &format!("logs:{}", self.name)).with("last", &lines);
        self.follow(context, &node, &topics)
    }

    /// Shows what comes, and asks again where the stream breaks off: the node tells then what has been missed.
    fn follow(&self, context: &Context, node: &Node, topics: &Path) -> Result<(), Failure> {
        let mut id: Option<String> = None;
        let mut lost = false;
        loop {
            match node.events(topics, id.as_deref()) {
                Ok(events) => {
                    lost = false;
                    for event in events {
                        show(context, &event.name, &event.data)?;
                        id = event.id.or(id);
                    }
                    thread::sleep(SOON);
                }
                // Nothing has come of it yet, or it will not get better.
                Err(error) if id.is_none() || !error.passes() => return Err(error.into()),
                Err(error) => {
                    if !lost {
                        context.output.note(&format!("{error}; trying again"));
                    }
                    lost = true;
                    thread::sleep(AGAIN);
                }
            }
        }
    }
}

fn show(context: &Context, event: &str, data: &Value) -> Result<(), Failure> {
    match event {
        "log" => Ok(context.output.say(data, || line(data))?),
        "dropped" => {
            let count = number(data, "count").map_or_else(|| "some".to_owned(), |count| count.to_string());
            let value = json!({ "event": "dropped", "count": data.get("count") });
            Ok(context.output.say(&value, || format!("… {count} lines were missed"))?)
        }
        _ => Ok(()),
    }
}

/// A line as people read it: when, of which version, how bad, and what.
fn line(line: &Value) -> String {
    let at = number(line, "at_ms").and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at)));
    let at = at.map_or_else(|| "-".to_owned(), |at| humantime::format_rfc3339_millis(at).to_string());
    let dropped = match number(line, "dropped") {
        None | Some(0) => String::new(),
        Some(dropped) => format!(" ({dropped} lines before this one were dropped)"),
    };
    let level = if text(line, "level") == "warning" { "warning: " } else { "" };
    format!("{at} v{} {level}{}{dropped}", escape(&text(line, "version")), escape(&text(line, "text")))
}
