//! What the tests of the binary share: running it, servers that go away with the test, and reading reports.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidepool-load");

/// A server of the tool's own, killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// Starts `tidepool-load serve KIND` on a free port and waits until it listens.
    pub(crate) fn start(kind: &str, args: &[&str]) -> Server {
        let mut child = Command::new(BINARY)
            .args(["serve", kind, "127.0.0.1:0", "--acceptors", "2"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().rsplit(' ').next().unwrap().parse();
        Server { child, addr: addr.unwrap_or_else(|_| panic!("the server said `{line}`")) }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A finished run.
pub(crate) struct Run {
    /// How it ended.
    pub(crate) output: Output,
    /// Its JSON, if it wrote any.
    pub(crate) json: Option<Value>,
}

impl Run {
    /// The exit code.
    pub(crate) fn code(&self) -> i32 {
        self.output.status.code().unwrap()
    }

    /// Standard output.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Standard error.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The JSON.
    pub(crate) fn report(&self) -> &Value {
        self.json.as_ref().unwrap_or_else(|| panic!("no report; the tool said: {}", self.stderr()))
    }

    /// A number of the report.
    pub(crate) fn count(&self, key: &str) -> u64 {
        self.report()[key].as_u64().unwrap()
    }

    /// How many failed by a kind.
    pub(crate) fn failed(&self, kind: &str) -> u64 {
        self.report()["failed"].get(kind).map_or(0, |count| count.as_u64().unwrap())
    }

    /// All failures.
    pub(crate) fn all_failed(&self) -> u64 {
        self.report()["failed"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
    }

    /// Every start is completed or failed, in the whole and in the steps.
    pub(crate) fn assert_accounted(&self) {
        assert_eq!(self.count("started"), self.count("completed") + self.all_failed(), "{}", self.report());
        assert_eq!(self.count("asked"), self.count("started") + self.count("unstarted"));
        for key in ["started", "completed", "asked"] {
            let steps = self.report()["steps"].as_array().unwrap();
            let sum: u64 = steps.iter().map(|step| step[key].as_u64().unwrap()).sum();
            assert_eq!(sum, self.count(key), "{key} of the steps");
        }
    }

    /// The run was made to its end; on a busy machine the rate may not have been kept.
    pub(crate) fn assert_made(&self) {
        assert!(matches!(self.code(), 0 | 3), "exit {}: {}", self.code(), self.stderr());
        self.assert_accounted();
    }
}

/// A directory of its own, gone with the value.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Runs the tool with `--json` and reads it back.
pub(crate) fn run(args: &[&str]) -> Run {
    let dir = scratch();
    let json = dir.path().join("report.json");
    let output = Command::new(BINARY)
        .args(args)
        // Whatever else the machine does: late starts are made, not given up.
        .args(["--catch-up", "60s"])
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    finish(output, &json)
}

/// Reads a run's JSON, if there is one.
pub(crate) fn finish(output: Output, json: &PathBuf) -> Run {
    let json = std::fs::read_to_string(json).ok().map(|text| serde_json::from_str(&text).unwrap());
    Run { output, json }
}

/// A port at which TCP is refused for as long as this is there: a connection has it, and nobody listens.
pub(crate) struct Nobody {
    /// Where nobody listens.
    pub(crate) addr: SocketAddr,
    _connection: [TcpStream; 2],
}

impl Nobody {
    /// Takes a port.
    pub(crate) fn listens() -> Nobody {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let connected = TcpStream::connect(addr).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        Nobody { addr, _connection: [connected, accepted] }
    }
}
