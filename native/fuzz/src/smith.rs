//! Valid modules, from a process of their own: see `smith/`.

use std::io::{BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use fastrand::Rng;

use crate::corpus;

static SMITH: Mutex<Option<Smith>> = Mutex::new(None);

struct Smith {
    child: Child,
    modules: BufReader<ChildStdout>,
}

impl Smith {
    fn start(seed: u64) -> Self {
        let mut child =
            program().arg(seed.to_string()).stdout(Stdio::piped()).spawn().expect("the generator of modules starts");
        let modules = BufReader::new(child.stdout.take().expect("its output is piped"));
        Smith { child, modules }
    }

    fn next(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.modules.read_exact(&mut len).expect("the generator of modules writes more");
        let mut wasm = vec![0; usize::try_from(u32::from_le_bytes(len)).expect("a length")];
        self.modules.read_exact(&mut wasm).expect("the generator of modules writes all of it");
        wasm
    }
}

/// The generator: that of `SMITH`, or what cargo builds first, if it isn't. Who waits for another command of cargo's here has an
/// execution that takes long.
fn program() -> Command {
    if let Some(path) = std::env::var_os("SMITH") {
        return Command::new(path);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["run", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(corpus::folder().join("smith/Cargo.toml"))
        .arg("--");
    cargo
}

impl Drop for Smith {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next module; `rng` says which are made, the first time.
pub fn module(rng: &mut Rng) -> Vec<u8> {
    let mut smith = SMITH.lock().unwrap_or_else(PoisonError::into_inner);
    smith.get_or_insert_with(|| Smith::start(rng.u64(..))).next()
}
