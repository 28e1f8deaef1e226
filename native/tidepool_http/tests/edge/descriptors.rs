//! A process that runs out of file descriptors. It has to be one of its own, so the test runs itself again
//! under a lower limit.

use crate::support::{Client, Echo, PATIENCE, config, soon};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tidepool_http::{Config, Server};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::sleep;

const INSIDE: &str = "TIDEPOOL_FEW_DESCRIPTORS";

#[test]
fn running_out_of_descriptors_neither_stops_accepting_nor_spins() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let this = std::env::current_exe().unwrap();
    let name = "descriptors::running_out_of_descriptors_neither_stops_accepting_nor_spins";
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 48 && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(this)
        .arg(name)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn inside() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = Config { header_timeout: PATIENCE, ..config() };
        let server = Server::start(config, Arc::new(Echo), &Handle::current(), &[]).unwrap();
        // Clients share the limit with the server, so at the end neither finds a descriptor.
        let mut clients = Vec::new();
        while let Ok(stream) = TcpStream::connect(server.local_addr()).await {
            clients.push(stream);
        }
        until(|| server.stats().accept_errors > 0).await;
        let before = server.stats().accept_errors;
        // A time to fail in, not a wait for something: a loop that spins would try thousands of times.
        sleep(Duration::from_millis(300)).await;
        assert!(server.stats().accept_errors - before < 20);
        drop(clients);
        until(|| server.stats().connections_open == 0).await;
        let mut client = Client::connect(server.local_addr()).await;
        client.ask("GET", "/health").await;
        assert_eq!(client.answer().await.status, 200);
    });
}

async fn until(wanted: impl Fn() -> bool) {
    soon(async {
        while !wanted() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
