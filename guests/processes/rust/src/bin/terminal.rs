//! Does at its standard input and output what its first argument says, after having said what its arguments are.

use std::io::{self, Write};

use lunatic::{spawn_link, Mailbox};

#[lunatic::main]
fn main(_: Mailbox<()>) {
    let args: Vec<String> = std::env::args().collect();
    println!("{}", args.join(" "));
    let second = || args.get(2).expect("a second argument").as_str();
    match args.get(1).map(String::as_str) {
        Some("env") => println!("{}", std::env::var(second()).expect("a variable")),
        Some("exit") => std::process::exit(second().parse().expect("a number")),
        Some("cat") => {
            io::copy(&mut io::stdin().lock(), &mut io::stdout()).expect("all of it");
        }
        Some("ask") => {
            print!("name? ");
            io::stdout().flush().expect("a terminal");
            let mut name = String::new();
            io::stdin().read_line(&mut name).expect("a line");
            println!("hello {}", name.trim_end());
        }
        Some("forever") => loop {
            println!("{}", "forever ".repeat(100));
        },
        Some("panic") => panic!("as told"),
        Some("family") => {
            let _ = spawn_link!(@task || println!("child")).result();
        }
        _ => {}
    }
}
