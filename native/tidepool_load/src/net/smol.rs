//! smol, one local executor per worker over its one shared reactor.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor, Timer, future};
use socket2::Socket;

use super::Net;

thread_local! {
    /// The executor of this worker thread, while [`SmolNet::run`] is on it.
    static EXECUTOR: RefCell<Option<Rc<LocalExecutor<'static>>>> = const { RefCell::new(None) };
}

/// smol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SmolNet;

impl Net for SmolNet {
    type Stream = Async<TcpStream>;
    type Timer = Timer;

    fn run<F: Future<Output = ()>>(self, main: F) -> io::Result<()> {
        let executor = Rc::new(LocalExecutor::new());
        EXECUTOR.set(Some(Rc::clone(&executor)));
        smol::block_on(executor.run(main));
        EXECUTOR.set(None);
        Ok(())
    }

    fn spawn<F: Future<Output = ()> + 'static>(self, task: F) {
        EXECUTOR.with_borrow(|executor| {
            if let Some(executor) = executor {
                executor.spawn(task).detach();
            }
        });
    }

    fn timer(self) -> io::Result<Timer> {
        Ok(Timer::never())
    }

    async fn wait_until(self, timer: &mut Timer, at: Instant) -> io::Result<()> {
        timer.set_at(at);
        timer.await;
        Ok(())
    }

    async fn before<F: Future>(self, at: Instant, work: F) -> Option<F::Output> {
        let late = async {
            Timer::at(at).await;
            None
        };
        future::or(async { Some(work.await) }, late).await
    }

    async fn connect(self, socket: Socket, to: SocketAddr) -> io::Result<Async<TcpStream>> {
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let stream = Async::new_nonblocking(TcpStream::from(socket))?;
        stream.writable().await?;
        match stream.get_ref().take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    async fn write_all(self, stream: &mut Async<TcpStream>, content: Bytes) -> io::Result<()> {
        stream.write_all(&content).await
    }

    async fn read(self, stream: &mut Async<TcpStream>, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        (stream.read(&mut buffer).await, buffer)
    }
}
