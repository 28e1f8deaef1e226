//! Running the binary, and servers that answer what a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// However busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The tool, with nothing of the environment that it would read.
pub(crate) fn tidepool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidepool"));
    command
        .args(arguments)
        .env_remove("TIDEPOOL_URL")
        .env_remove("TIDEPOOL_TOKEN")
        .env_remove("TIDEPOOL_CA")
        .env("TIDEPOOL_TOOLCHAINS", "/no/such/folder")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end: exit code, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A request as it came: its head, and its body.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A server of the test's own, which ends with the test's process.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) requests: Receiver<Request>,
}

/// Answers each request by what `answer` makes of it.
pub(crate) fn serve(answer: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> Server {
    let (sender, requests) = channel();
    let url = accept(move |mut stream| {
        let Some(request) = receive(&mut stream) else { return };
        let answer = answer(&request);
        // The client may have gone, and the test have ended.
        let _ = sender.send(request);
        let _ = stream.write_all(&answer);
    });
    Server { url, requests }
}

/// Hands each connection to `serve`, one after the other, and says where.
pub(crate) fn accept(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    url
}

fn receive(stream: &mut TcpStream) -> Option<Request> {
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body })
}

/// An answer of JSON.
pub(crate) fn json(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// A node for deploys alone: each is the next version.
pub(crate) fn deploys() -> Server {
    let versions = std::sync::atomic::AtomicU64::new(0);
    serve(move |_request| {
        let version = versions.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        json(201, &format!(r#"{{"name":"it","version":{version}}}"#))
    })
}

/// A project whose command is a shell's line.
pub(crate) fn project(folder: &Path, command: &str, watch: &str) {
    let text = format!("name = \"it\"\n[build]\ncommand = '''{command}'''\noutput = \"out.wasm\"\nwatch = {watch}\n");
    std::fs::write(folder.join("tidepool.toml"), text).unwrap();
}

/// The smallest module, for a shell.
pub(crate) const MODULE: &str = r"printf '\0asm\1\0\0\0' > out.wasm";

/// `tidepool watch --json`, event by event.
pub(crate) struct Watch {
    pub(crate) child: Child,
    lines: Receiver<Value>,
}

impl Watch {
    pub(crate) fn start(folder: &Path, url: &str) -> Self {
        // A save takes several steps, between which a busy machine may do something else for long.
        let mut child = tidepool(&["watch", "--json", "--debounce", "500ms", "--url", url])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, lines }
    }

    /// The next event, which is one of that kind.
    pub(crate) fn event(&self, kind: &str) -> Value {
        let event = self.lines.recv_timeout(PATIENCE).unwrap();
        assert_eq!(event["event"], kind, "{event}");
        event
    }

    /// Whether nothing was said since.
    pub(crate) fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Which ends its build, too.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}
