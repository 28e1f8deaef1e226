//! A process on each node wants to be the one that does something, and one of them is: by a name that holds on all nodes.

use lunatic::{Mailbox, Process};
use tidepool::names;

/// Starts a process on each node, and says which of them has become the one.
#[lunatic::main]
fn main(mailbox: Mailbox<u64>) {
    let nodes = lunatic::distributed::nodes();
    let all: Vec<_> = nodes.iter().map(|node| Process::spawn_node(*node, mailbox.this(), candidate)).collect();
    let mut told: Vec<u64> = all.iter().map(|_| mailbox.receive()).collect();
    told.dedup();
    let one: Process<()> = names::lookup("the one").expect("names").expect("one of them");
    assert_eq!(told, [one.id()]);
    println!("one of {} has the name, and all of them know it", all.len());
}

/// Claims the name, and tells its parent who has it: itself, or another. It stays as long as its program.
fn candidate(parent: Process<u64>, mailbox: Mailbox<()>) {
    let me = mailbox.this();
    let one = names::claim("the one", &me).expect("names").unwrap_or(me);
    parent.send(one.id());
    mailbox.receive();
}
