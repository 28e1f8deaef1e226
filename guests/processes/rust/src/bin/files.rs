//! Does with files what its first argument says, by the standard library, and says what came of it.

use lunatic::{Mailbox, Process, ProcessConfig};

include!("../../../../files.rs");

#[lunatic::main]
fn main(mailbox: Mailbox<String>) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // A child does the rest: with a folder of its own, or with all that there are.
        ["child", rest @ ..] => {
            Process::spawn((mailbox.this(), line(rest)), child);
            println!("{}", mailbox.receive());
        }
        ["child-within", folder, rest @ ..] => {
            let mut config = ProcessConfig::new().expect("a configuration");
            config.preopen_dir(folder);
            Process::spawn_config(&config, (mailbox.this(), line(rest)), child);
            println!("{}", mailbox.receive());
        }
        args => println!("{}", said(args)),
    }
}

fn line(args: &[&str]) -> String {
    args.join(" ")
}

fn child((parent, what): (Process<String>, String), _: Mailbox<()>) {
    parent.send(said(&what.split(' ').collect::<Vec<_>>()));
}
