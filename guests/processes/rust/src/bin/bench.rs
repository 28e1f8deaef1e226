//! What bench/processes measures, one subject for each value of the environment's `SUBJECT`. What a subject has measured it
//! prints as lines of a name and a number.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use lunatic::net::{TcpStream, UdpSocket};
use lunatic::{sleep, Mailbox, Process};
use processes::listen;

const PERIOD: Duration = Duration::from_millis(100);

#[lunatic::main]
fn main(_: Mailbox<()>) {
    match &*std::env::var("SUBJECT").unwrap_or_default() {
        "hello" => println!("hello 1"),
        "ping_pong" => ping_pong(number("COUNT")),
        "spawn_join" => spawn_join(number("COUNT"), number("AT_ONCE")),
        "pairs" => pairs(number("COUNT"), Duration::from_secs(number("SECONDS"))),
        "sleepers" => sleepers(number("COUNT"), number("ROUNDS"), number("LOOPS")),
        "idle" => idle(number("COUNT")),
        "echo" => echo(),
        "flows" => flows(number("COUNT"), number("ROUNDS")),
        "outside" => outside(),
        other => panic!("{other:?} is no subject"),
    }
}

/// A setting of the environment, or 0.
fn number(name: &str) -> u64 {
    std::env::var(name).map_or(0, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The main process's mailbox, for messages of any type that it is used for alone.
fn mailbox<M: serde::Serialize + serde::de::DeserializeOwned>() -> Mailbox<M> {
    // SAFETY: `main` does not use its own, and each subject makes one for the only type that it is sent.
    unsafe { Mailbox::new() }
}

fn ping_pong(count: u64) {
    let mailbox = mailbox::<u64>();
    let other = Process::spawn_link(mailbox.this(), pong);
    let round_trips = |count| {
        let began = Instant::now();
        for number in 0..count {
            other.send(number);
            assert_eq!(mailbox.receive(), number);
        }
        began.elapsed()
    };
    round_trips(count / 10);
    println!("round_trip_ns {}", round_trips(count).as_nanos() as u64 / count);
}

fn pong(back: Process<u64>, mailbox: Mailbox<u64>) {
    loop {
        back.send(mailbox.receive());
    }
}

/// `count` processes that end at once, so many `at_once`, are waited for.
fn spawn_join(count: u64, at_once: u64) {
    let mailbox = mailbox::<()>();
    let join = |rounds: u64| {
        let began = Instant::now();
        for _ in 0..rounds {
            for _ in 0..at_once {
                Process::spawn(mailbox.this(), |parent: Process<()>, _: Mailbox<()>| parent.send(()));
            }
            for _ in 0..at_once {
                mailbox.receive();
            }
        }
        began.elapsed()
    };
    let rounds = (count / at_once).max(1);
    join(rounds / 10 + 1);
    println!("spawn_join_ns {}", join(rounds).as_nanos() as u64 / (rounds * at_once));
}

/// So many pairs play ping-pong; how many round trips all of them make in a second.
fn pairs(count: u64, time: Duration) {
    let mailbox = mailbox::<u64>();
    for _ in 0..count {
        Process::spawn_link((mailbox.this(), time.as_millis() as u64), pair);
    }
    let made: u64 = (0..count).map(|_| mailbox.receive()).sum();
    println!("round_trips_per_s {}", made * 1_000 / time.as_millis() as u64);
}

fn pair((main, time): (Process<u64>, u64), mailbox: Mailbox<u64>) {
    let other = Process::spawn_link(mailbox.this(), pong);
    let (began, time) = (Instant::now(), Duration::from_millis(time));
    let mut made = 0;
    while began.elapsed() < time {
        // A look at the clock costs about as much as a message.
        for _ in 0..16 {
            other.send(made);
            made += u64::from(mailbox.receive() == made);
        }
    }
    main.send(made);
}

/// So many processes sleep for a period again and again, beside so many that never end; how late they wake up.
fn sleepers(count: u64, rounds: u64, loops: u64) {
    let mailbox = mailbox::<Vec<u32>>();
    for _ in 0..loops {
        Process::spawn_link((), |_, _: Mailbox<()>| loop {});
    }
    for _ in 0..count {
        Process::spawn_link((mailbox.this(), rounds), sleeper);
    }
    println!("sleeping {count}");
    let mut late: Vec<u32> = (0..count).flat_map(|_| mailbox.receive()).collect();
    late.sort_unstable();
    for percent in [50, 99] {
        println!("late_us_p{percent} {}", late[late.len() * percent / 100]);
    }
}

fn sleeper((main, rounds): (Process<Vec<u32>>, u64), _: Mailbox<()>) {
    let late = (0..rounds).map(|_| {
        let began = Instant::now();
        sleep(PERIOD);
        began.elapsed().saturating_sub(PERIOD).as_micros() as u32
    });
    main.send(late.collect());
}

/// So many processes wait for a message that never comes.
fn idle(count: u64) {
    let mailbox = mailbox::<()>();
    for _ in 0..count {
        Process::spawn(mailbox.this(), |main: Process<()>, mailbox: Mailbox<()>| {
            main.send(());
            mailbox.receive();
        });
    }
    for _ in 0..count {
        mailbox.receive();
    }
    println!("idle {count}");
    mailbox.receive();
}

/// A process for each connection sends back what comes.
fn echo() {
    let listener = listen();
    while let Ok((stream, _peer)) = listener.accept() {
        Process::spawn(stream, |mut stream: TcpStream, _: Mailbox<()>| {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
        });
    }
}

/// So many processes, each with a socket, ping the server at `TARGET` once a second; how many answers have come.
fn flows(count: u64, rounds: u64) {
    let mailbox = mailbox::<(u64, u64)>();
    for number in 0..count {
        Process::spawn_link((mailbox.this(), number, count, rounds), flow);
    }
    println!("flowing {count}");
    let (sent, answered) = (0..count).fold((0, 0), |(sent, answered), _| {
        let (more_sent, more_answered) = mailbox.receive();
        (sent + more_sent, answered + more_answered)
    });
    println!("sent {sent}\nlost {}", sent - answered);
    // Until the program is ended, so that what is left of the flows can be seen.
    mailbox.receive();
}

fn flow((main, number, count, rounds): (Process<(u64, u64)>, u64, u64, u64), _: Mailbox<()>) {
    let target = std::env::var("TARGET").expect("TARGET says where the server is");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect(&*target).expect("a server's address");
    // Spread over the first second.
    let begin = Instant::now() + Duration::from_nanos(1_000_000_000 / count * number);
    let mut answered = 0;
    for round in 0..rounds {
        sleep((begin + Duration::from_secs(round)).saturating_duration_since(Instant::now()));
        let ping = (number << 32 | round).to_le_bytes();
        let mut answer = [0; 16];
        if socket.send(&ping).is_ok() && socket.recv(&mut answer).ok() == Some(ping.len()) && answer.starts_with(&ping)
        {
            answered += 1;
        }
    }
    main.send((rounds, answered));
}

/// Sends back the numbers that an Elixir process sends, which tells its own id first.
fn outside() {
    let mailbox = mailbox::<u64>();
    println!("ready 1");
    // SAFETY: who it is has said that it takes numbers.
    let other = unsafe { Process::<u64>::new(lunatic::host::node_id(), mailbox.receive()) };
    pong(other, mailbox);
}
