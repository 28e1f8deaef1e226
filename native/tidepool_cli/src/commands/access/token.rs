//! `tidepool token`: tokens beside the node's own.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::commands::members::{ago, list, number, shown, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::Path;
use crate::output::{Table, time_until};

/// `tidepool token`
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token, and write its secret, which is told this once
    Create(Create),
    /// List the tokens beside the node's own
    List(List),
    /// Revoke a token, on all nodes
    Revoke(Revoke),
}

/// `tidepool token create`
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is called
    name: String,
    /// What it is for; several of them, or with commas between
    #[arg(long, value_enum, required = true, value_delimiter = ',')]
    scope: Vec<Scope>,
    /// The functions that it is for: a name, or the beginning of some with * at its end [default: all]
    #[arg(long, value_name = "FUNCTIONS")]
    functions: Option<String>,
    /// What it may grant functions that it deploys, such as net:dns, files:config, registry:ghcr.io or host:shop/prices/*; one for each
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// When it expires, as 12h or 90d [default: in a year]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Scope {
    /// Modules and settings are read
    Read,
    /// Functions and actors are called, processes started
    Call,
    /// Functions are deployed, rolled back and removed
    Deploy,
    /// All of it, and tokens
    Admin,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Call => "call",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

/// `tidepool token list`
#[derive(Debug, Args)]
pub(crate) struct List {}

/// `tidepool token revoke`
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Which token
    name: String,
    /// Those that it has made as well, and those that these have made
    #[arg(long)]
    with_children: bool,
}

impl Token {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(context),
            Self::List(List {}) => {
                let answer = context.node()?.get(&Path::of(&["tokens"]))?;
                Ok(context.output.say(&answer, || table(&answer))?)
            }
            Self::Revoke(Revoke { name, with_children }) => {
                let path = Path::of(&["tokens", name]);
                let path = if *with_children { path.with("children", "true") } else { path };
                let answer = context.node()?.delete(&path)?;
                Ok(context.output.say(&answer, || revoked(&answer))?)
            }
        }
    }
}

impl Create {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let scopes: Vec<_> = self.scope.iter().map(|scope| scope.word()).collect();
        let mut body = Map::new();
        body.insert("name".to_owned(), json!(self.name));
        body.insert("scopes".to_owned(), json!(scopes));
        if let Some(functions) = &self.functions {
            body.insert("functions".to_owned(), json!(functions));
        }
        if !self.grant.is_empty() {
            body.insert("grants".to_owned(), json!(self.grant));
        }
        if let Some(expires) = self.expires {
            body.insert("expires_in".to_owned(), json!(expires.as_secs()));
        }
        let body = Value::Object(body).to_string().into_bytes();
        let (_status, answer) = context.node()?.post(&Path::of(&["tokens"]), "application/json", body)?;
        let until = number(&answer, "expires_at").map_or_else(String::new, |at| format!(", for {}", time_until(at)));
        context.output.note(&format!("{} is made{until}; this is its secret, which is not told again:", self.name));
        Ok(context.output.say(&answer, || text(&answer, "secret"))?)
    }
}

fn table(answer: &Value) -> String {
    let tokens = list(answer, "tokens");
    if tokens.is_empty() {
        return "there is none beside the node's own".to_owned();
    }
    let mut table = Table::new(&["name", "scopes", "functions", "grants", "made", "made by", "expires in"]);
    for token in tokens {
        let words = |member| list(token, member).iter().map(shown).collect::<Vec<_>>().join(",");
        table.row([
            text(token, "name"),
            words("scopes"),
            text(token, "functions"),
            words("grants"),
            ago(token, "made_at"),
            text(token, "made_by"),
            number(token, "expires_at").map_or_else(|| "-".to_owned(), time_until),
        ]);
    }
    table.text()
}

fn revoked(answer: &Value) -> String {
    let words = |member| list(answer, member).iter().map(shown).collect::<Vec<_>>().join(", ");
    let mut line = format!("{} is revoked", text(answer, "revoked"));
    if !list(answer, "also").is_empty() {
        line.push_str(&format!(", and {}", words("also")));
    }
    if !list(answer, "left").is_empty() {
        line.push_str(&format!("; what it has made stays: {}", words("left")));
    }
    line
}
