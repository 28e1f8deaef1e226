//! A PostgreSQL that the tests of one binary share, each with a database of its own in it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A server. It ends when nobody can tell it anything any more: with this process at the latest, however that ends.
pub(crate) struct Server {
    folder: PathBuf,
    script: Child,
    output: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_as(&[])
    }

    /// One that is reached by TLS alone.
    pub(crate) fn start_tls() -> Self {
        Self::start_as(&["tls"])
    }

    fn start_as(arguments: &[&str]) -> Self {
        let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../../bin/support/postgres");
        let mut script =
            Command::new(path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(script.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let folder = line.strip_prefix("ready ").expect("PostgreSQL has started").trim().into();
        Server { folder, script, output }
    }

    /// Ends it as a crash would (`stop`), or starts it again (`start`); saves all that it has (`save`), or goes back to that (`return`).
    pub(crate) fn tell(&mut self, word: &str) {
        let input = self.script.stdin.as_mut().unwrap();
        input.write_all(format!("{word}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }

    /// A new database's URL.
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        execute(&self.url("postgres"), &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// What it has left in its folder by this name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=tidepool", self.folder.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ended = self.script.wait();
    }
}

/// The server of all tests that don't stop it.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// Has statements executed that answer nothing.
pub(crate) fn execute(url: &str, sql: &str) {
    with(url, async |client| client.batch_execute(sql).await.unwrap());
}

/// Does a query answer a row?
pub(crate) fn answers(url: &str, sql: &str) -> bool {
    with(url, async |client| !client.query(sql, &[]).await.unwrap().is_empty())
}

/// The number that a query answers.
pub(crate) fn number(url: &str, sql: &str) -> u64 {
    with(url, async |client| client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0).cast_unsigned())
}

fn with<T>(url: &str, ask: impl AsyncFnOnce(tokio_postgres::Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        ask(client).await
    })
}
