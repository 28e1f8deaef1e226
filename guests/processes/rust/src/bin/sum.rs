// main.rs
use lunatic::{Mailbox, Process};

/// Adds up what it is sent, and tells each sender the sum so far.
#[lunatic::main]
fn main(mailbox: Mailbox<(u64, u64)>) {
    let mut sum = 0;
    loop {
        let (from, number) = mailbox.receive();
        sum += number;
        // SAFETY: whoever sends gives its own number, and takes numbers.
        unsafe { Process::<u64>::new(lunatic::host::node_id(), from) }.send(sum);
    }
}
