//! Starting, or a typed reason why not.

use crate::support::{Client, Echo, config};
use std::net::SocketAddr;
use std::sync::Arc;
use tidepool_http::{Config, ConfigError, Server, StartError};
use tokio::runtime::{Handle, Runtime};

fn start(config: Config) -> Result<Server, StartError> {
    Server::start(config, Arc::new(Echo), &Handle::current(), &[])
}

fn at(address: &str) -> Config {
    Config { address: address.parse().unwrap(), ..config() }
}

#[tokio::test]
async fn an_address_in_use_is_told_apart() {
    let server = start(config()).unwrap();
    let address = server.local_addr();
    let second = start(Config { address, ..config() });
    assert!(matches!(second, Err(StartError::AddressInUse { address: named }) if named == address));
}

#[tokio::test]
async fn an_address_of_another_machine_is_told_apart() {
    let config = Config { token: Some("t".into()), ..at("192.0.2.1:4000") };
    assert!(matches!(start(config), Err(StartError::AddressNotAvailable { .. })));
}

#[tokio::test]
async fn a_wrong_setting_stops_the_start() {
    let refused = start(at("0.0.0.0:0"));
    assert!(matches!(refused, Err(StartError::Config(ConfigError::TokenNeeded { .. }))));
}

#[tokio::test]
async fn a_port_can_be_taken_again_at_once() {
    let server = start(config()).unwrap();
    let address = server.local_addr();
    let mut client = Client::connect(address).await;
    client.ask("GET", "/health").await;
    client.answer().await;
    server.drain(crate::support::PATIENCE).await;
    drop(server);
    let again = start(Config { address, ..config() }).unwrap();
    assert_eq!(again.local_addr(), address);
}

#[tokio::test]
async fn it_listens_on_ipv6_too() {
    let server = start(at("[::1]:0")).unwrap();
    let mut client = Client::connect(server.local_addr()).await;
    client.ask("GET", "/health").await;
    assert_eq!(client.answer().await.status, 200);
}

#[test]
fn it_starts_from_outside_the_runtime() {
    let runtime = Runtime::new().unwrap();
    let server = Server::start(config(), Arc::new(Echo), runtime.handle(), &[]).unwrap();
    let address: SocketAddr = server.local_addr();
    runtime.block_on(async {
        let mut client = Client::connect(address).await;
        client.ask("GET", "/health").await;
        assert_eq!(client.answer().await.status, 200);
    });
    drop(server);
}
