//! A counter that is upgraded with its clients connected: each line of a client is answered by how many lines there have been, and how
//! many upgrades.
//!
//! With `refuse` as its argument it takes no upgrades.

use std::io::{Read, Write};

use lunatic::net::TcpStream;
use serde::{Deserialize, Serialize};
use tidepool::{upgrade, Listener, Set, READABLE};

const UPGRADE: u64 = 0;
const LISTENER: u64 = 1;
const FIRST: u64 = 2;

/// What a version leaves to the next one.
#[derive(Serialize, Deserialize)]
struct State {
    lines: u64,
    upgrades: u64,
    listener: Listener,
    clients: Vec<TcpStream>,
}

fn main() {
    let inherited: Option<State> = upgrade::inherited().expect("a state of this type");
    let mut state = match inherited {
        Some(mut state) => {
            state.upgrades += 1;
            state
        }
        None => {
            let listener = Listener::bind("127.0.0.1:0").expect("a listener");
            State { lines: 0, upgrades: 0, listener, clients: Vec::new() }
        }
    };
    if std::env::args().nth(1).as_deref() != Some("refuse") {
        upgrade::accept();
    }
    println!("listening on {}", state.listener.local_addr().expect("its address"));
    loop {
        // It is made anew each time: clients come and go.
        let mut set = Set::new();
        set.add_tag(UPGRADE, upgrade::TAG);
        set.add(LISTENER, &state.listener, READABLE);
        for (token, client) in (FIRST..).zip(&state.clients) {
            set.add(token, client, READABLE);
        }
        let mut gone = Vec::new();
        let mut asked = false;
        for found in set.wait(None) {
            match found.token {
                UPGRADE => asked = true,
                LISTENER => {
                    if let Ok(Some((client, _peer))) = state.listener.accept(None) {
                        state.clients.push(client);
                    }
                }
                token => {
                    let at = (token - FIRST) as usize;
                    if !answer(&mut state, at) {
                        gone.push(at);
                    }
                }
            }
        }
        for at in gone.into_iter().rev() {
            state.clients.remove(at);
        }
        if asked {
            let version = upgrade::requested(None);
            println!("asked to become version {version:?}");
            panic!("not upgraded: {}", upgrade::go_on(&state).unwrap_err());
        }
    }
}

/// Answers the lines that a client has sent; `false` when it has hung up.
fn answer(state: &mut State, at: usize) -> bool {
    let mut bytes = [0; 1024];
    let count = match state.clients[at].read(&mut bytes) {
        Ok(0) | Err(_) => return false,
        Ok(count) => count,
    };
    state.lines += bytes[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
    let answer = format!("{} lines, {} upgrades\n", state.lines, state.upgrades);
    state.clients[at].write_all(answer.as_bytes()).is_ok()
}
