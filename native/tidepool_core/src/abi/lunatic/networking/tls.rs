//! TLS. What guests give of certificates and keys is PEM.

use wasmtime::{Caller, Linker};

use super::address;
use super::data::TLS_SESSION;
use super::listen::{accept, bind_soon, local_address};
use super::stream::{flush, read, set_timeout, timeout, write};
use super::support::{failed_or_late, made, remove, share, within};
use crate::abi::lunatic::support::{guest, program_full, text, trap};
use crate::abi::lunatic::{NETWORKING, OWN};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::base::grants::Protocol;
use crate::net::error::NetError;
use crate::net::stream::Stream;
use crate::net::tcp::TcpListener;
use crate::net::tls::{TlsListener, TlsStream};

/// Longest PEM.
const MAX_PEM_BYTES: usize = 256 << 10;
/// It is read in one go, and no kind of key has a tenth of it.
const MAX_KEY_BYTES: usize = 32 << 10;
/// Most certificates to trust.
const MAX_CERTS: usize = 64;
/// What a byte of their PEM takes until the connection, or the listener, is there: itself, and what is read of it, short ones with their
/// records.
const PEM_TAKES: usize = 3;
/// Longest time that connecting takes, the handshake included, whatever the guest says: nobody else ends it.
const CONNECT_MS: u64 = 60_000;

/// Arguments of `tls_bind`: an address, where the handle goes, and two ranges, of certificates and of their key.
type BindArgs = (i32, i32, i32, i32, i32, i32, i32, i32, i32, i32);
/// Arguments of `tls_connect`: a host's name, its port, a timeout, where the handle goes, and the certificates to trust.
type ConnectArgs = (i32, i32, i32, u64, i32, i32, i32);

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // Reading a key may take a while, but the guest's thread has it done.
    linker.func_wrap_async(NETWORKING, "tls_bind", |caller, args: BindArgs| Box::new(bind(caller, args)))?;
    linker.func_wrap(NETWORKING, "tls_local_addr", local_address::<TlsListener>)?;
    linker.func_wrap_async(NETWORKING, "tls_accept", |caller, args| {
        Box::new(accept::<TlsListener>(caller, args, u64::MAX))
    })?;
    linker.func_wrap_async(OWN, "tls_accept", |caller, (listener, id, peer, ms): (u64, i32, i32, u64)| {
        Box::new(accept::<TlsListener>(caller, (listener, id, peer), ms))
    })?;
    linker.func_wrap(NETWORKING, "drop_tls_listener", remove::<TlsListener>)?;
    linker.func_wrap_async(NETWORKING, "tls_connect", |caller, args: ConnectArgs| Box::new(connect(caller, args)))?;
    linker.func_wrap_async(NETWORKING, "tls_read", |caller, args: (u64, i32, i32, i32)| {
        read::<TlsStream>(caller, args, TlsStream::try_read, |timeouts| &timeouts.read)
    })?;
    linker.func_wrap_async(NETWORKING, "tls_write_vectored", |caller, args: (u64, i32, i32, i32)| {
        write::<TlsStream>(caller, args)
    })?;
    linker.func_wrap_async(NETWORKING, "tls_flush", |caller, args: (u64, i32)| {
        Box::new(flush::<TlsStream>(caller, args))
    })?;
    linker.func_wrap(NETWORKING, "drop_tls_stream", remove::<TlsStream>)?;
    linker.func_wrap(NETWORKING, "clone_tls_stream", share::<TlsStream>)?;
    linker.func_wrap(NETWORKING, "set_tls_read_timeout", |mut caller: Caller<'_, State>, stream: u64, ms: u64| {
        set_timeout::<TlsStream>(&mut caller, stream, ms, |timeouts| &timeouts.read)
    })?;
    linker.func_wrap(NETWORKING, "set_tls_write_timeout", |mut caller: Caller<'_, State>, stream: u64, ms: u64| {
        set_timeout::<TlsStream>(&mut caller, stream, ms, |timeouts| &timeouts.write)
    })?;
    linker.func_wrap(NETWORKING, "get_tls_read_timeout", |mut caller: Caller<'_, State>, stream: u64| {
        timeout::<TlsStream>(&mut caller, stream, |timeouts| &timeouts.read)
    })?;
    linker.func_wrap(NETWORKING, "get_tls_write_timeout", |mut caller: Caller<'_, State>, stream: u64| {
        timeout::<TlsStream>(&mut caller, stream, |timeouts| &timeouts.write)
    })?;
    Ok(())
}

async fn bind(mut caller: Caller<'_, State>, args: BindArgs) -> wasmtime::Result<i32> {
    let (kind, ip, port, flow, scope, id, certs, certs_len, key, key_len) = args;
    let guest = guest(&mut caller)?;
    let address = address::read(&mut caller, (kind, ip, port, flow, scope))?;
    let bytes = pem_bytes(&mut caller, certs_len)? + memory::unsigned(key_len);
    if memory::unsigned(key_len) > MAX_KEY_BYTES {
        return Err(trap(&mut caller, format!("the guest gave a private key of more than {MAX_KEY_BYTES} bytes")));
    }
    let bound = match bind_soon(&mut caller, || TlsListener::bind(&guest.program.access(), address)).await? {
        // Nobody has a copy of them who waits for an address that is taken.
        Ok(tcp) => {
            if !caller.data_mut().abi.lunatic.data().go_on(bytes.saturating_mul(PEM_TAKES)) {
                return Err(program_full(&mut caller));
            }
            let certified = certified(&mut caller, tcp, (certs, certs_len), (key, key_len)).await;
            caller.data_mut().abi.lunatic.data().over();
            certified?
        }
        Err(error) => Err(error),
    };
    made(&mut caller, id, bound)
}

/// A listener with the certificates and the key in these ranges.
async fn certified(
    caller: &mut Caller<'_, State>,
    tcp: TcpListener,
    certs: (i32, i32),
    key: (i32, i32),
) -> wasmtime::Result<Result<TlsListener, NetError>> {
    let (certs, key) = (pem(caller, certs.0, certs.1)?, pem(caller, key.0, key.1)?);
    memory::copied(caller, certs.len() + key.len()).await;
    Ok(within(caller, u64::MAX, "reading certificates", TlsListener::new(tcp, &certs, &key)).await)
}

async fn connect(mut caller: Caller<'_, State>, args: ConnectArgs) -> wasmtime::Result<i32> {
    let (host, host_len, port, ms, id, certs, certs_len) = args;
    let guest = guest(&mut caller)?;
    let host = text(&mut caller, host, host_len)?;
    let Ok(port) = u16::try_from(port) else {
        return Err(trap(&mut caller, format!("the guest gave {} for a port", port.cast_unsigned())));
    };
    let (places, bytes) = places(&mut caller, certs, certs_len)?;
    // From before anything is read until it has a handle, by which it counts from then on.
    if !caller.data_mut().abi.lunatic.data().go_on(TLS_SESSION.saturating_add(bytes.saturating_mul(PEM_TAKES))) {
        return Err(program_full(&mut caller));
    }
    let connected = match all_pem(&mut caller, places).await {
        Ok(certs) => {
            let access = guest.program.access();
            let connected = TlsStream::connect(&access, Protocol::Tls, (&host, port), &certs, &[]);
            Ok(within(&mut caller, ms.min(CONNECT_MS), "connecting", connected).await)
        }
        Err(trap) => Err(trap),
    };
    caller.data_mut().abi.lunatic.data().over();
    match connected? {
        Err(error) => failed_or_late(&mut caller, id, &error),
        connected => made(&mut caller, id, connected),
    }
}

/// Where certificates are and how long each is, which it is described by; and how many bytes all have.
fn places(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<(Vec<(i32, i32)>, usize)> {
    let count = memory::unsigned(len);
    if count > MAX_CERTS {
        return Err(trap(caller, format!("the guest trusts {count} certificates, more than {MAX_CERTS}")));
    }
    let descriptions = memory::read(caller, ptr, memory::length(count * 8), usize::MAX)?;
    let (mut places, mut bytes) = (Vec::with_capacity(count), 0);
    for description in descriptions.chunks_exact(8) {
        let [a, b, c, d, e, f, g, h] = *description else { continue };
        let (len, ptr) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
        bytes += memory::unsigned(len);
        if bytes > MAX_PEM_BYTES {
            return Err(trap(caller, format!("the guest trusts certificates of more than {MAX_PEM_BYTES} bytes")));
        }
        places.push((ptr, len));
    }
    Ok((places, bytes))
}

async fn all_pem(caller: &mut Caller<'_, State>, places: Vec<(i32, i32)>) -> wasmtime::Result<Vec<Vec<u8>>> {
    let mut all = Vec::with_capacity(places.len());
    for (ptr, len) in places {
        all.push(pem(caller, ptr, len)?);
        memory::copied(caller, memory::unsigned(len)).await;
    }
    Ok(all)
}

fn pem(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<Vec<u8>> {
    pem_bytes(caller, len)?;
    memory::read(caller, ptr, len, MAX_PEM_BYTES)
}

/// How many bytes a PEM of this length has.
fn pem_bytes(caller: &mut Caller<'_, State>, len: i32) -> wasmtime::Result<usize> {
    let bytes = memory::unsigned(len);
    if bytes > MAX_PEM_BYTES {
        return Err(trap(caller, format!("the guest gave a PEM of more than {MAX_PEM_BYTES} bytes")));
    }
    Ok(bytes)
}
