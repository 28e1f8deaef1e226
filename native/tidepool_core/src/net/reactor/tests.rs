//! Both reactors, with real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// Each of them, with its runtime. There is no ring where the kernel gives none.
fn each(mut test: impl FnMut(&Reactor, &Runtime)) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    for wanted in [IoBackend::Tokio, IoBackend::Uring] {
        let (reactor, refused) = Reactor::new(wanted);
        assert_eq!(reactor.backend() == wanted, refused.is_none(), "{refused:?}");
        test(&reactor, &runtime);
    }
}

fn within<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _address) = listener.accept().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    (one, other)
}

async fn byte(socket: &Registered<TcpStream>) -> Option<u8> {
    let mut byte = [0];
    let count = socket.io(Interest::READABLE, |mut socket| socket.read(&mut byte)).await.unwrap();
    (count > 0).then_some(byte[0])
}

#[test]
fn all_that_comes_is_heard_of_and_none_of_it_is_waited_for_twice() {
    each(|reactor, runtime| {
        let (one, mut other) = pair();
        let one = reactor.register(one).unwrap();
        let heard = within(runtime, async {
            let says = tokio::task::spawn_blocking(move || {
                for number in 0..2_000_u32 {
                    other.write_all(&[number as u8]).unwrap();
                    // One that waits, and one that does not.
                    if number % 3 == 0 {
                        std::thread::yield_now();
                    }
                }
                other
            });
            let mut heard = Vec::new();
            for _ in 0..2_000 {
                heard.push(byte(&one).await.unwrap());
            }
            drop(says.await.unwrap());
            assert_eq!(byte(&one).await, None);
            heard
        });
        assert_eq!(heard, (0..2_000_u32).map(|number| number as u8).collect::<Vec<_>>());
    });
}

#[test]
fn each_of_many_that_wait_for_a_socket_is_woken_and_those_that_have_left_are_forgotten() {
    each(|reactor, runtime| {
        let (one, mut other) = pair();
        let one = Arc::new(reactor.register(one).unwrap());
        within(runtime, async {
            let late = tokio::time::timeout(Duration::ZERO, byte(&one)).await;
            assert!(late.is_err());
            let waiting: Vec<_> = (0..20)
                .map(|_| {
                    let one = Arc::clone(&one);
                    tokio::spawn(async move { byte(&one).await })
                })
                .collect();
            other.write_all(&[7; 20]).unwrap();
            for heard in waiting {
                assert_eq!(heard.await.unwrap(), Some(7));
            }
        });
    });
}

#[test]
fn who_writes_more_than_there_is_room_for_goes_on_when_there_is() {
    each(|reactor, runtime| {
        let (one, mut other) = pair();
        let one = reactor.register(one).unwrap();
        let bytes = vec![5; 16 << 20];
        within(runtime, async {
            let heard = tokio::task::spawn_blocking(move || {
                let mut heard = Vec::new();
                other.read_to_end(&mut heard).unwrap();
                heard.len()
            });
            let mut left = bytes.as_slice();
            while !left.is_empty() {
                let written = one.io(Interest::WRITABLE, |mut socket| socket.write(left)).await.unwrap();
                left = left.split_at(written).1;
            }
            drop(one);
            assert_eq!(heard.await.unwrap(), bytes.len());
        });
    });
}

#[test]
fn a_peer_sees_the_end_of_a_socket_that_was_waited_for_at_once_and_its_address_is_free_soon() {
    each(|reactor, runtime| {
        let (one, mut other) = pair();
        let one = reactor.register(one).unwrap();
        within(runtime, async { assert!(tokio::time::timeout(Duration::ZERO, byte(&one)).await.is_err()) });
        drop(one);
        assert_eq!(other.read(&mut [0]).unwrap(), 0);

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let socket = reactor.register(socket).unwrap();
        within(runtime, async {
            let comes = socket.io(Interest::READABLE, |socket| socket.recv(&mut [0]));
            assert!(tokio::time::timeout(Duration::ZERO, comes).await.is_err());
        });
        drop(socket);
        within(runtime, reactor.closed(0));
        UdpSocket::bind(address).unwrap();
    });
}

#[test]
fn who_opens_and_drops_sockets_all_the_time_has_never_many_open() {
    each(|reactor, runtime| {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        let most = within(runtime, async {
            let mut most = 0;
            for round in 0..3_000 {
                reactor.closed(CLOSING).await;
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_nonblocking(true).unwrap();
                let socket = reactor.register(socket).unwrap();
                let comes = socket.io(Interest::READABLE, |socket| socket.recv(&mut [0]));
                assert!(tokio::time::timeout(Duration::ZERO, comes).await.is_err());
                if round % 50 == 0 {
                    most = most.max(open());
                }
            }
            most
        });
        // Other tests have theirs.
        assert!(most < before + 2_500, "{most}, where there were {before}");
    });
}

#[test]
fn a_waker_that_panics_ends_the_waits_of_a_ring_with_an_error_and_hangs_nobody() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a test has asked for it");
        }
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (Reactor::Uring(ring), None) = Reactor::new(IoBackend::Uring) else { return };
    let reactor = Reactor::Uring(ring);
    let sockets: Vec<_> = (0..2).map(|_| pair()).collect();
    let [(first, mut other), (second, _silent)] = <[_; 2]>::try_from(sockets).unwrap();
    let (first, second) = (reactor.register(first).unwrap(), Arc::new(reactor.register(second).unwrap()));
    let waker = std::task::Waker::from(Arc::new(Panics));
    let blocks = |socket: &Registered<TcpStream>| {
        let tried = socket.try_io(Interest::READABLE, |mut socket| socket.read(&mut [0]));
        assert_eq!(tried.unwrap_err().kind(), ErrorKind::WouldBlock);
    };
    blocks(&first);
    let mut wait = Box::pin(first.ready(Interest::READABLE));
    assert!(wait.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    blocks(&second);
    other.write_all(&[1]).unwrap();
    let failed = within(&runtime, second.ready(Interest::READABLE)).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
}

#[test]
fn more_sockets_than_the_ring_has_room_for_at_once_are_all_heard_of() {
    each(|reactor, runtime| {
        let sockets: Vec<_> = (0..600).map(|_| pair()).collect();
        let mut others = Vec::new();
        let waiting: Vec<_> = sockets
            .into_iter()
            .map(|(one, other)| {
                others.push(other);
                let one = reactor.register(one).unwrap();
                runtime.spawn(async move { byte(&one).await })
            })
            .collect();
        for other in &mut others {
            other.write_all(&[9]).unwrap();
        }
        for heard in waiting {
            assert_eq!(within(runtime, heard).unwrap(), Some(9));
        }
    });
}

/// Has the system refuse this thread, and those that it starts, any ring, as the default filter of containers does.
fn refuse_rings() {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};
    let errno = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let code = |code: u32| u16::try_from(code).unwrap();
    let step = |of: u32, k: u32, jf: u8| sock_filter { code: code(of), jt: 0, jf, k };
    let mut filter = [
        // The number of the call is what the kernel tells first.
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, u32::try_from(libc::SYS_io_uring_setup).unwrap(), 1),
        step(BPF_RET | BPF_K, errno, 0),
        step(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: the program and its steps outlive the calls, which copy them.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

#[test]
fn where_the_kernel_gives_no_ring_it_is_tokio_and_why_is_told() {
    let (backend, refused) = std::thread::spawn(|| {
        refuse_rings();
        let (reactor, refused) = Reactor::new(IoBackend::Uring);
        (reactor.backend(), refused)
    })
    .join()
    .unwrap();
    assert_eq!(backend, IoBackend::Tokio);
    assert_eq!(refused.unwrap().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn a_connection_that_nobody_takes_is_an_error() {
    each(|reactor, runtime| {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = within(runtime, crate::net::tcp::connect(reactor, address)).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}
