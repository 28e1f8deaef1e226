// main.rs
use lunatic::{Mailbox, Process};

/// Has each node count some primes, and says what has come of it.
#[lunatic::main]
fn main(mailbox: Mailbox<u64>) {
    let nodes = lunatic::distributed::nodes();
    for (part, node) in nodes.iter().enumerate() {
        let counter = Process::spawn_node(*node, mailbox.this(), count);
        counter.send((part as u64, nodes.len() as u64));
    }
    let primes: u64 = nodes.iter().map(|_| mailbox.receive()).sum();
    println!("{primes} primes below 10000, counted on {} nodes", nodes.len());
}

/// Runs on the node that it was started on, and counts the primes of its share.
fn count(parent: Process<u64>, mailbox: Mailbox<(u64, u64)>) {
    let (part, parts) = mailbox.receive();
    let is_prime = |number: &u64| (2..*number).take_while(|it| it * it <= *number).all(|it| number % it != 0);
    let mine = (2..10_000).filter(|number| number % parts == part);
    parent.send(mine.filter(is_prime).count() as u64);
}
