//! `tidepool status`: how a node and its cluster are.

use clap::Args;
use serde_json::{Value, json};
use tidepool_errors::Reason;

use super::members::{list, number, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::{NodeError, Path};
use crate::output::{Table, escape};

/// `tidepool status`
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let node = context.node()?;
        let (status, health) = node.observe(&Path::of(&["health"]))?;
        // A node that is about to stop says so as an error.
        if let Some(said) = health.get("error").filter(|said| said.get("reason").is_some_and(Value::is_string)) {
            return Err(NodeError::Refused { said: said.clone() }.into());
        }
        if health.get("status").is_none() {
            return Err(NodeError::Nonsense { address: node.address().to_string(), status }.into());
        }
        let cluster = match node.get(&Path::of(&["cluster"])) {
            // A token for some functions is told how the node is, and no more.
            Err(error) if matches!(error.told(), Some(Reason::Forbidden | Reason::Unauthorized)) => Value::Null,
            cluster => cluster?,
        };
        let value = json!({ "health": health, "cluster": cluster });
        Ok(context.output.say(&value, || report(&health, &cluster))?)
    }
}

/// Seconds from which on it is told that a queue does not get empty, and that a resource stays full.
const LONG_S: u64 = 60;

/// Who waits in a queue, as `/health` calls it.
fn waiters(queue: &str) -> String {
    match queue {
        "compiles" => "modules that are to be compiled".to_owned(),
        "caps" => "calls at the caps of functions or namespaces".to_owned(),
        engine => format!("calls for an instance of the {} engine", escape(engine)),
    }
}

/// What there is so much of, as `/health` calls it.
fn held(resource: &str) -> String {
    let known = match resource {
        "fast_stacks" => "stacks of caught calls of the fast engine",
        "dense_stacks" => "stacks of caught calls of the dense engine",
        "fast_trials" => "places for trials of the fast engine",
        "dense_trials" => "places for trials of the dense engine",
        "lookups" => "lookups of names",
        "deploys" => "places for deploys",
        "fetches" => "places for fetches from registries",
        "changes" => "places for changes of actors",
        "change_bytes" => "bytes of changes of actors",
        other => return escape(other),
    };
    known.to_owned()
}

/// What of a member of `/health` lasts for long, and for how many seconds.
fn lasting<'a>(health: &'a Value, member: &str) -> impl Iterator<Item = (&'a str, u64)> {
    let all = health.get(member).and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, seconds)| Some((name.as_str(), seconds.as_u64().filter(|seconds| *seconds >= LONG_S)?)))
}

fn report(health: &Value, cluster: &Value) -> String {
    let instances = health.get("instances").unwrap_or(&Value::Null);
    let of = |member| text(instances, member);
    let mut lines = vec![
        format!("{} is {}", escape(&text(health, "node")), escape(&text(health, "status"))),
        format!(
            "{} functions; {} instances live, {} idle, {} calls queued",
            text(health, "functions"),
            of("live"),
            of("idle"),
            of("queued")
        ),
    ];
    let unavailable = number(health, "functions_unavailable").unwrap_or(0);
    if unavailable > 0 {
        lines.push(format!("{unavailable} more could not be loaded on this node: `tidepool list` names them"));
    }
    for (queue, seconds) in lasting(health, "waiting") {
        lines.push(format!("{} have been waiting for {seconds} s without a break", waiters(queue)));
    }
    for (resource, seconds) in lasting(health, "full") {
        lines.push(format!(
            "the node has had nearly all {} taken for {seconds} s: more is refused, or waits",
            held(resource)
        ));
    }
    if cluster.is_null() {
        lines.push("of its cluster the token is told nothing: that takes `read` for all functions".to_owned());
    }
    let nodes = list(cluster, "nodes");
    if !nodes.is_empty() {
        let mut table = Table::new(&["node", "pending", "catalog", "skew ms"]);
        for node in nodes {
            let of = |member| text(node, member);
            table.row([of("name"), of("functions_pending"), of("catalog"), of("skew_ms")]);
        }
        lines.push(table.text());
    }
    for lost in list(cluster, "lost") {
        let name = if lost.is_object() { text(lost, "name") } else { super::members::shown(lost) };
        lines.push(format!("{} is lost", escape(&name)));
    }
    for fetched in list(cluster, "fetching") {
        let size = number(fetched, "size").map_or_else(|| "-".to_owned(), crate::output::bytes);
        lines.push(format!(
            "{} is being fetched: {}, {size}",
            escape(&text(fetched, "name")),
            escape(&text(fetched, "state"))
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_have_not_been_empty_for_a_minute_are_told_with_who_waits_in_them() {
        let health = |waiting| json!({ "node": "a@b", "status": "ok", "instances": {}, "waiting": waiting });
        let told = |waiting| report(&health(waiting), &json!({}));
        assert_eq!(told(json!({ "fast": 59, "caps": 1 })).lines().count(), 2);
        let said = told(json!({ "fast": 60, "caps": 61, "compiles": 3_600 }));
        for line in [
            "calls for an instance of the fast engine have been waiting for 60 s without a break",
            "calls at the caps of functions or namespaces have been waiting for 61 s without a break",
            "modules that are to be compiled have been waiting for 3600 s without a break",
        ] {
            assert!(said.lines().any(|told| told == line), "{said}");
        }
        assert_eq!(told(json!("a text")).lines().count(), 2);
    }

    #[test]
    fn resources_that_have_been_full_for_a_minute_are_told() {
        let health = |full| json!({ "node": "a@b", "status": "ok", "instances": {}, "full": full });
        let told = |full| report(&health(full), &json!({}));
        assert_eq!(told(json!({ "memory": 59 })).lines().count(), 2);
        let said = told(json!({ "code": 60, "change_bytes": 61, "fetches": 62 }));
        for line in [
            "the node has had nearly all code taken for 60 s: more is refused, or waits",
            "the node has had nearly all bytes of changes of actors taken for 61 s: more is refused, or waits",
            "the node has had nearly all places for fetches from registries taken for 62 s: more is refused, or waits",
        ] {
            assert!(said.lines().any(|told| told == line), "{said}");
        }
    }
}
