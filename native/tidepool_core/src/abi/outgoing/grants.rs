//! What of that a guest may, and how its host is asked.

use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::StoreContextMut;

use crate::abi::slots::State;
use crate::base::console::Stream;
use crate::base::grants::{Direction, Protocol, Wanted};
use crate::base::request::exchange::Refusal;
use crate::base::request::{ExchangeCall, HostRequest, Payload};
use crate::net::access::Access;
use crate::net::error::NetError;
use crate::net::http::server::Server;
use crate::store::resting::begin_slice;
use crate::value::Value;

/// Most characters of a name that a line tells of.
const NAME_CHARS: usize = 253;

/// The end of such a host's name.
const END: &str = ".internal";

/// The function that a request is for, by the host that its URI names; `None` when it is for a server.
pub(in crate::abi) fn function(state: &State, host: &str) -> Option<String> {
    let name = host.strip_suffix(END).filter(|name| !name.is_empty())?;
    let own = state.function.name.split_once('/').map(|(namespace, _name)| namespace);
    let in_own = own.and_then(|own| Some((own, name.strip_suffix(own)?.strip_suffix('.')?)));
    Some(match in_own {
        Some((own, name)) if !name.is_empty() => format!("{own}/{name}"),
        _ => name.to_owned(),
    })
}

/// May the guest call this function? Not while it starts, nor in a probe, nor where its deploy does not grant that.
pub(in crate::abi) fn may_call(state: &State, function: &str) -> bool {
    let [binding, namespace] = ExchangeCall::TARGET;
    serves(state) && state.function.host.allow([binding, namespace, function].map(str::as_bytes))
}

/// Tells on the function's console why a request goes nowhere: to another function, or else to a server.
pub(in crate::abi) fn print_denial(state: &State, function: Option<&str>, (server, is_plain): (&str, bool)) {
    let cut = |name: &str| name.chars().take(NAME_CHARS).collect::<String>();
    let told = match function {
        _ if !serves(state) => "a request is not sent by start functions, nor in the deploy's own GET /".into(),
        Some(function) => {
            let [binding, namespace] = ExchangeCall::TARGET;
            let function = cut(function);
            format!(
                "the function is not granted {binding}/{namespace}/{function}: its deploy's option `host` lists what is"
            )
        }
        None => {
            // Who asks, before an @, is none of what is asked for.
            let server = server.rsplit('@').next().unwrap_or_default();
            let wanted = wanted(&cut(server), is_plain).unwrap_or_else(|| "requests to no server".into());
            NetError::NotGranted { wanted }.to_string()
        }
    };
    state.function.print(Stream::Console, told.as_bytes());
}

/// What a request to this server takes, by TLS or in the clear; `None` when it is none.
fn wanted(server: &str, is_plain: bool) -> Option<String> {
    let scheme = if is_plain { "http" } else { "https" };
    let Server { is_secure, host, port } = Server::of(&format!("{scheme}://{server}/").parse().ok()?)?;
    let protocol = if is_secure { Protocol::Https } else { Protocol::Http };
    let wanted = match host.parse() {
        Ok(ip) => Wanted::Address(protocol, Direction::Connect, SocketAddr::new(ip, port)),
        Err(_) => Wanted::Name(protocol, &host, port),
    };
    Some(wanted.to_string())
}

/// Has the host serve what was asked: it is refused where nobody does.
pub(in crate::abi) async fn ask(store: &mut StoreContextMut<'_, State>, asked: ExchangeCall) {
    let exchange = asked.exchange.clone();
    let Some(call) = store.data().call.clone() else { return exchange.refuse(Refusal::Denied) };
    if store.data().tape.as_ref().is_some_and(|tape| tape.untaped("a request of HTTP to a function").is_err()) {
        return exchange.refuse(Refusal::Denied);
    }
    let answer = call.channel.ask(HostRequest::Exchange(asked)).await;
    begin_slice(&mut *store);
    match (answer, call.channel.take_value().as_deref()) {
        (Ok(_), None | Some(Value::Null)) => {}
        (Ok(_), Some(_)) => exchange.refuse(Refusal::Failed("a handler of host functions serves no requests".into())),
        (Err(_), _) => exchange.refuse(Refusal::Denied),
    }
}

/// What a guest may do with the network; `None` when nothing is granted, while it starts and in a probe.
pub(in crate::abi) fn access(state: &State) -> Option<Arc<Access>> {
    match &state.abi.guest {
        Some(guest) => Some(guest.program.access()),
        None => state.abi.access.clone().filter(|_access| serves(state)),
    }
}

/// Whether the guest serves somebody: it does not start, and is not probed.
pub(in crate::abi) fn serves(state: &State) -> bool {
    let probe = |payload: &Payload| matches!(payload, Payload::Exchange(exchange) if exchange.is_probe());
    state.call.as_ref().is_some_and(|call| !probe(&call.request.payload))
}
