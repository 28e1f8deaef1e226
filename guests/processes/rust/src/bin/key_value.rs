//! A key-value server: an abstract process that keeps the values, and a process for each client.
//!
//! A line is a request, and has one line of answer: `SET key value`, `GET key`, `DEL key`, `ADD key number`, `COUNT`.

use std::collections::HashMap;
use std::io::Write;

use lunatic::ap::{Config, ProcessRef};
use lunatic::net::TcpStream;
use lunatic::{abstract_process, AbstractProcess, Mailbox, Process};
use processes::{lines, listen};

struct Store {
    values: HashMap<String, String>,
}

#[abstract_process]
impl Store {
    #[init]
    fn init(_: Config<Self>, _: ()) -> Result<Self, ()> {
        Ok(Store { values: HashMap::new() })
    }

    #[handle_request]
    fn set(&mut self, key: String, value: String) -> bool {
        self.values.insert(key, value).is_none()
    }

    #[handle_request]
    fn get(&self, key: String) -> Option<String> {
        self.values.get(&key).cloned()
    }

    #[handle_request]
    fn remove(&mut self, key: String) -> bool {
        self.values.remove(&key).is_some()
    }

    /// A sum that no other client comes between; `None` if the value is no number, or the sum too large.
    #[handle_request]
    fn add(&mut self, key: String, number: i64) -> Option<i64> {
        let sum = match self.values.get(&key) {
            None => number,
            Some(value) => value.parse::<i64>().ok()?.checked_add(number)?,
        };
        self.values.insert(key, sum.to_string());
        Some(sum)
    }

    #[handle_request]
    fn count(&self) -> u64 {
        self.values.len() as u64
    }
}

#[lunatic::main]
fn main(_: Mailbox<()>) {
    // Linked: without its values the server has nothing to serve.
    let store = Store::link().start(()).expect("the store starts");
    let listener = listen();
    while let Ok((stream, _peer)) = listener.accept() {
        Process::spawn((stream, store), serve);
    }
}

fn serve((mut stream, store): (TcpStream, ProcessRef<Store>), _: Mailbox<()>) {
    for line in lines(stream.clone()) {
        let answer = answer(&line, &store);
        if stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(line: &str, store: &ProcessRef<Store>) -> String {
    let mut words = line.splitn(3, ' ');
    let request = (words.next().unwrap_or(""), words.next(), words.next());
    match request {
        ("SET", Some(key), Some(value)) => {
            if store.set(key.to_string(), value.to_string()) { "NEW" } else { "CHANGED" }.to_string()
        }
        ("GET", Some(key), None) => {
            store.get(key.to_string()).map_or("NONE".to_string(), |value| format!("VALUE {value}"))
        }
        ("DEL", Some(key), None) => if store.remove(key.to_string()) { "GONE" } else { "NONE" }.to_string(),
        ("ADD", Some(key), Some(number)) => {
            match number.parse().ok().and_then(|number| store.add(key.to_string(), number)) {
                Some(sum) => format!("VALUE {sum}"),
                None => "ERROR that is no sum of 64 bits".to_string(),
            }
        }
        ("COUNT", None, None) => format!("VALUE {}", store.count()),
        _ => "ERROR a request is SET key value, GET key, DEL key, ADD key number or COUNT".to_string(),
    }
}
