//! A tree of supervisors: one at the top, one for a pair of counters that restart together under it, and a counter beside it
//! that restarts alone.
//!
//! A line is a request to one of the counters `left`, `right` and `alone`: `ADD name`, `READ name` or `CRASH name`. Its answer
//! is the counter's value, which is 0 after a restart; that of `CRASH` comes when the counter is a new process.

use std::io::Write;
use std::time::{Duration, Instant};

use lunatic::ap::{Config, ProcessRef};
use lunatic::net::TcpStream;
use lunatic::supervisor::{Supervisor, SupervisorConfig, SupervisorStrategy};
use lunatic::{abstract_process, sleep, AbstractProcess, Mailbox, Process};
use processes::{lines, listen};

/// How long a counter may take to be there again, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

struct Counter(u64);

#[abstract_process]
impl Counter {
    #[init]
    fn init(_: Config<Self>, _: ()) -> Result<Self, ()> {
        Ok(Counter(0))
    }

    #[handle_request]
    fn add(&mut self, number: u64) -> u64 {
        self.0 += number;
        self.0
    }

    #[handle_message]
    fn crash(&self) {
        panic!("a client has asked for it");
    }
}

struct Pair;

impl Supervisor for Pair {
    type Arg = ();
    type Children = (Counter, Counter);

    fn init(config: &mut SupervisorConfig<Self>, _: ()) {
        config.set_strategy(SupervisorStrategy::OneForAll);
        config.set_args(((), ()));
        config.set_names((Some("left".to_string()), Some("right".to_string())));
    }
}

struct Top;

impl Supervisor for Top {
    type Arg = ();
    type Children = (Pair, Counter);

    fn init(config: &mut SupervisorConfig<Self>, _: ()) {
        config.set_strategy(SupervisorStrategy::OneForOne);
        config.set_args(((), ()));
        config.set_names((None, Some("alone".to_string())));
    }
}

#[lunatic::main]
fn main(_: Mailbox<()>) {
    Top::link().start(()).expect("the tree starts");
    let listener = listen();
    while let Ok((stream, _peer)) = listener.accept() {
        Process::spawn(stream, serve);
    }
}

fn serve(mut stream: TcpStream, _: Mailbox<()>) {
    for line in lines(stream.clone()) {
        let answer = match line.split_once(' ') {
            Some((request @ ("ADD" | "READ" | "CRASH"), name @ ("left" | "right" | "alone"))) => ask(request, name),
            _ => Some("ERROR a request is ADD, READ or CRASH, and left, right or alone".to_string()),
        };
        let answer = answer.unwrap_or_else(|| "ERROR the counter is not there".to_string());
        if stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

fn ask(request: &str, name: &str) -> Option<String> {
    let end = Instant::now() + PATIENCE;
    match request {
        "CRASH" => {
            let before = counter(name, end, |_| true)?;
            before.crash();
            counter(name, end, |now| now.id() != before.id())?;
            Some("0".to_string())
        }
        _ => {
            let counter = counter(name, end, |_| true)?;
            let value = counter.with_timeout(PATIENCE).add(u64::from(request == "ADD")).ok()?;
            Some(value.to_string())
        }
    }
}

/// The process of that name, once there is one that is alive and wanted.
fn counter(name: &str, end: Instant, wanted: impl Fn(&ProcessRef<Counter>) -> bool) -> Option<ProcessRef<Counter>> {
    loop {
        match ProcessRef::<Counter>::lookup(name) {
            Some(counter) if counter.is_alive() && wanted(&counter) => return Some(counter),
            _ if Instant::now() > end => return None,
            _ => sleep(Duration::from_millis(1)),
        }
    }
}
