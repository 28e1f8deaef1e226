//! What clients saw of actors, and whether that could have been: histories are checked for linearizability.
//!
//! An actor is a sum, a register and a list of lines. Each operation has the time of its call and that of its answer; one without an
//! answer is open: it may have been done at any time since, or never.

use std::collections::BTreeMap;

use serde_json::Value;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// What is asked of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Adds a number, and is answered the sum.
    Add(i64),
    /// Is answered the sum.
    Sum,
    /// Writes the register.
    Put(String),
    /// Is answered the register.
    Get,
    /// Appends a line, and is answered how many there are.
    Append(String),
    /// Is answered the lines.
    Lines,
}

/// An actor, as one that is there once would be.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    sum: i64,
    register: String,
    lines: Vec<String>,
}

impl SequentialSpec for Actor {
    type Op = Op;
    type Ret = String;

    fn invoke(&mut self, op: &Op) -> String {
        match op {
            Op::Add(number) => {
                self.sum += number;
                self.sum.to_string()
            }
            Op::Sum => self.sum.to_string(),
            Op::Put(value) => {
                self.register.clone_from(value);
                String::new()
            }
            Op::Get => self.register.clone(),
            Op::Append(line) => {
                self.lines.push(line.clone());
                self.lines.len().to_string()
            }
            Op::Lines => self.lines.join("\n"),
        }
    }
}

/// An operation, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The actor that it was asked of.
    pub actor: String,
    /// Who has asked: one operation after the other.
    pub client: u64,
    /// What was asked.
    pub op: Op,
    /// When it was asked, by a clock that all clients have.
    pub called: u64,
    /// When it was answered, and what; `None` when its client has no answer.
    pub answered: Option<(u64, String)>,
}

impl Seen {
    /// An operation from a line of JSON: `{"actor", "client", "op", "argument", "called", "answered", "answer"}`, where `answered` and
    /// `answer` are `null` in one that is open.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn read(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(String::from);
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let lacks = |name: &str| format!("{name} is missing, or of another type: {line}");
        let argument = || text("argument").ok_or_else(|| lacks("argument"));
        let op = match text("op").as_deref() {
            Some("add") => Op::Add(argument()?.parse().map_err(|_error| lacks("argument"))?),
            Some("sum") => Op::Sum,
            Some("put") => Op::Put(argument()?),
            Some("get") => Op::Get,
            Some("append") => Op::Append(argument()?),
            Some("lines") => Op::Lines,
            _ => return Err(lacks("op")),
        };
        Ok(Seen {
            actor: text("actor").ok_or_else(|| lacks("actor"))?,
            client: number("client").ok_or_else(|| lacks("client"))?,
            op,
            called: number("called").ok_or_else(|| lacks("called"))?,
            answered: number("answered").zip(text("answer")),
        })
    }
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Actors.
    pub actors: usize,
    /// Operations that were answered.
    pub answered: usize,
    /// Operations that are open.
    pub open: usize,
    /// Actors whose histories no actor has that is there once.
    pub wrong: Vec<String>,
}

/// Checks the histories of all actors, each by itself.
///
/// # Errors
/// When a client has asked before it had its answer.
pub fn check(seen: Vec<Seen>) -> Result<Found, String> {
    let mut found = Found::default();
    let mut by_actor: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for operation in seen {
        *if operation.answered.is_some() { &mut found.answered } else { &mut found.open } += 1;
        by_actor.entry(operation.actor.clone()).or_default().push(operation);
    }
    found.actors = by_actor.len();
    for (actor, seen) in by_actor {
        if !linearizable(seen)? {
            found.wrong.push(actor);
        }
    }
    Ok(found)
}

/// Is there an order of an actor's operations, each between its call and its answer, in which all answers are right?
fn linearizable(seen: Vec<Seen>) -> Result<bool, String> {
    // The clock has a limit: what has one time is taken to be at the same time.
    let mut steps = Vec::new();
    for (at, operation) in seen.into_iter().enumerate() {
        // An open operation has a thread of its own, which is tried after all others.
        let thread =
            (operation.answered.is_none(), if operation.answered.is_some() { operation.client } else { at as u64 });
        steps.push((operation.called, false, thread, Some(operation.op), String::new()));
        if let Some((answered, answer)) = operation.answered {
            steps.push((answered, true, thread, None, answer));
        }
    }
    steps.sort_by_key(|(at, answered, ..)| (*at, *answered));
    let mut tester = LinearizabilityTester::new(Actor::default());
    for (_at, _answered, thread, op, answer) in steps {
        match op {
            Some(op) => tester.on_invoke(thread, op)?,
            None => tester.on_return(thread, answer)?,
        };
    }
    Ok(tester.is_consistent())
}
