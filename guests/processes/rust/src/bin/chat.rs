//! A chat server: a process for the room, and two for each client, one that reads and one that writes.
//!
//! A client's first line is its name. `/who` lists who is there, `/quit` ends, `/crash` panics in the client's process; what
//! else it says goes to all others.

use std::collections::BTreeMap;
use std::io::Write;

use lunatic::net::TcpStream;
use lunatic::{Mailbox, MessageSignal, Process, ProcessDiedSignal};
use processes::{lines, listen};
use serde::{Deserialize, Serialize};

/// What clients tell the room. A client is known by its writer.
#[derive(Serialize, Deserialize)]
enum Said {
    Joined(Process<Told>, String),
    Line(Process<Told>, String),
    Who(Process<Told>),
    Left(Process<Told>),
}

/// What a writer is told.
#[derive(Serialize, Deserialize)]
enum Told {
    Line(String),
    End,
}

#[lunatic::main]
fn main(_: Mailbox<()>) {
    let room = Process::spawn_link((), room);
    let listener = listen();
    while let Ok((stream, _peer)) = listener.accept() {
        // Not linked: a client that crashes takes nobody with it.
        Process::spawn((stream, room), read);
    }
}

fn room(_: (), mailbox: Mailbox<Said>) {
    let mailbox = mailbox.monitorable();
    let mut members: BTreeMap<u64, (Process<Told>, String)> = BTreeMap::new();
    loop {
        match mailbox.receive() {
            MessageSignal::Message(Said::Joined(writer, name)) => {
                mailbox.monitor(writer);
                tell_all(&members, format!("* {name} came"));
                members.insert(writer.id(), (writer, name));
            }
            MessageSignal::Message(Said::Line(writer, line)) => {
                if let Some((_, name)) = members.get(&writer.id()) {
                    let text = format!("{name}: {line}");
                    for (other, _) in members.values().filter(|(other, _)| *other != writer) {
                        other.send(Told::Line(text.clone()));
                    }
                }
            }
            MessageSignal::Message(Said::Who(writer)) => {
                let names: Vec<&str> = members.values().map(|(_, name)| &**name).collect();
                writer.send(Told::Line(format!("* here: {}", names.join(", "))));
            }
            MessageSignal::Message(Said::Left(writer)) => {
                leave(&mut members, writer.id(), "went");
                writer.send(Told::End);
            }
            // One who has left is no member any more when its writer ends.
            MessageSignal::Signal(ProcessDiedSignal(id)) => leave(&mut members, id, "was lost"),
        }
    }
}

fn leave(members: &mut BTreeMap<u64, (Process<Told>, String)>, id: u64, how: &str) {
    if let Some((_, name)) = members.remove(&id) {
        tell_all(members, format!("* {name} {how}"));
    }
}

fn tell_all(members: &BTreeMap<u64, (Process<Told>, String)>, text: String) {
    for (member, _) in members.values() {
        member.send(Told::Line(text.clone()));
    }
}

fn read((stream, room): (TcpStream, Process<Said>), _: Mailbox<()>) {
    // Linked: neither is of use without the other.
    let writer = Process::spawn_link(stream.clone(), write);
    let mut lines = lines(stream);
    if let Some(name) = lines.next() {
        room.send(Said::Joined(writer, name));
        for line in lines {
            match &*line {
                "/quit" => break,
                "/who" => room.send(Said::Who(writer)),
                "/crash" => panic!("a client has asked for it"),
                _ => room.send(Said::Line(writer, line)),
            }
        }
    }
    room.send(Said::Left(writer));
}

fn write(mut stream: TcpStream, mailbox: Mailbox<Told>) {
    while let Told::Line(line) = mailbox.receive() {
        if stream.write_all(format!("{line}\n").as_bytes()).is_err() {
            return;
        }
    }
}
