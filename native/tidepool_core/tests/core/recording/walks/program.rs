//! Modules that call imports with arguments of whatever kind, and answer with all of their memory.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tidepool_core::Import;

use crate::support::wat;

/// Where results of imports are kept, and how many.
const RESULTS: usize = 512;
const KEPT: usize = 32;
/// Where subscriptions are that `poll_oneoff` can take, and lists of buffers.
const SUBSCRIPTIONS: usize = 1_024;
const BUFFERS: usize = 2_048;

/// An ABI whose guests are made here.
pub(super) struct Kind {
    pub(super) abi: &'static str,
    pub(super) operation: &'static str,
    pub(super) payload: &'static [u8],
    /// What the end of a module needs: module, name, type.
    needs: &'static [(&'static str, &'static str, &'static str)],
    /// An import of the guest's own: those are not in the list of imports.
    own: Option<(&'static str, &'static str, &'static [&'static str], &'static str)>,
    open: &'static str,
    close: &'static str,
}

/// One for each ABI whose calls can be recorded.
pub(super) const KINDS: [Kind; 4] = [
    Kind {
        abi: "wapc",
        operation: "any",
        payload: b"a payload of some bytes",
        needs: &[("wapc", "__guest_response", "(param i32 i32)")],
        own: None,
        open: "(func (export \"__guest_call\") (param i32 i32) (result i32)",
        close: "(call $need0 (i32.const 0) (i32.const 65536)) (i32.const 1))",
    },
    Kind {
        abi: "wasi",
        operation: "any",
        payload: b"standard input of some bytes",
        needs: &[("wasi_snapshot_preview1", "fd_write", "(param i32 i32 i32 i32) (result i32)")],
        own: None,
        open: "(func (export \"_start\")",
        close: "(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 65536))
            (drop (call $need0 (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))",
    },
    Kind {
        abi: "extism",
        operation: "run",
        payload: b"an input of some bytes",
        needs: &[
            ("extism:host/env", "alloc", "(param i64) (result i64)"),
            ("extism:host/env", "store_u64", "(param i64 i64)"),
            ("extism:host/env", "output_set", "(param i64 i64)"),
        ],
        own: Some(("extism:host/user", "ask", &["i64"], "i64")),
        open: "(func (export \"run\") (result i32) (local $block i64) (local $at i32)",
        close: "(local.set $block (call $need0 (i64.const 65536)))
            (loop $more
                (call $need1 (i64.add (local.get $block) (i64.extend_i32_u (local.get $at)))
                    (i64.load (local.get $at)))
                (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 65536))))
            (call $need2 (local.get $block) (i64.const 65536))
            (i32.const 0))",
    },
    Kind {
        abi: "exports",
        operation: "run",
        payload: b"[]",
        needs: &[],
        own: Some(("env", "ask", &["i32", "i64"], "i64")),
        open: "(func (export \"run\") (result i64) (local $at i32)",
        close: "(loop $more
                (call $note (i64.load (local.get $at)))
                (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 65536))))
            (global.get $mix))",
    },
];

/// Programs of processes, which tell in the text that they fail with what their memory has come to.
pub(super) const PROGRAM: Kind = Kind {
    abi: "lunatic",
    operation: "",
    payload: b"",
    needs: &[
        ("wasi_snapshot_preview1", "fd_write", "(param i32 i32 i32 i32) (result i32)"),
        ("wasi_snapshot_preview1", "proc_exit", "(param i32)"),
        ("lunatic::message", "create_data", "(param i64 i64)"),
        ("lunatic::message", "write_data", "(param i32 i32) (result i32)"),
        ("lunatic::trap", "catch", "(param i32 i32) (result i32)"),
    ],
    own: None,
    open:
        "(func $message (call $need2 (i64.const 3) (i64.const 0)) (drop (call $need3 (i32.const 4096) (i32.const 9))))
        (func (export \"child\"))
        (func (export \"_start\") (local $at i32) (call $message)",
    close: "(loop $more
            (call $note (i64.load (local.get $at)))
            (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 65536))))
        (local.set $at (i32.const 32))
        (loop $more
            (i32.store8 (local.get $at)
                (i32.add (i32.const 97) (i32.and (i32.wrap_i64 (global.get $mix)) (i32.const 15))))
            (global.set $mix (i64.shr_u (global.get $mix) (i64.const 4)))
            (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 48))))
        (i32.store8 (i32.const 48) (i32.const 10))
        (i32.store (i32.const 16) (i32.const 32)) (i32.store (i32.const 20) (i32.const 17))
        (drop (call $need0 (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 24)))
        (call $need1 (i32.const 1)))",
};

impl Kind {
    /// What its guests may import, of all that there is.
    pub(super) fn imports(&self, all: &[Import]) -> Vec<Import> {
        let mut imports: Vec<_> = all.iter().filter(|import| import.abi == self.abi).cloned().collect();
        imports.extend(self.own.map(|(module, name, params, result)| Import {
            abi: self.abi,
            module: module.into(),
            name: name.into(),
            params: params.iter().map(|ty| (*ty).into()).collect(),
            results: vec![result.into()],
            waits: false,
        }));
        imports.sort_by(|one, other| (&one.module, &one.name).cmp(&(&other.module, &other.name)));
        imports
    }

    /// A module that calls these.
    pub(super) fn module(&self, rng: &mut StdRng, called: &[&Import]) -> Vec<u8> {
        let mut text = String::from("(module\n");
        for (number, (module, name, ty)) in self.needs.iter().enumerate() {
            writeln!(text, "(import \"{module}\" \"{name}\" (func $need{number} {ty}))").unwrap();
        }
        for (number, import) in called.iter().enumerate() {
            let Import { module, name, params, results, .. } = import;
            let (params, results) = (params.join(" "), results.join(" "));
            writeln!(
                text,
                "(import \"{module}\" \"{name}\" (func $called{number} (param {params}) (result {results})))"
            )
            .unwrap();
        }
        write!(
            text,
            "(memory (export \"memory\") 1)
            (data (i32.const 0) \"{}\")
            (global $mix (export \"mix\") (mut i64) (i64.const 0))
            (global $at (mut i32) (i32.const 0))
            (func $note (param $result i64)
                (global.set $mix (i64.xor (i64.rotl (global.get $mix) (i64.const 7)) (local.get $result))))
            (func $keep (param $result i64)
                (call $note (local.get $result))
                (i64.store offset={RESULTS} (i32.shl (global.get $at) (i32.const 3)) (local.get $result))
                (global.set $at (i32.and (i32.add (global.get $at) (i32.const 1)) (i32.const {}))))\n",
            escaped(&if self.abi == PROGRAM.abi { texts(memory(rng)) } else { memory(rng) }),
            KEPT - 1,
        )
        .unwrap();
        let calls = called.iter().enumerate().map(|(number, import)| {
            let call = import
                .params
                .iter()
                .fold(format!("(call $called{number}"), |call, ty| format!("{call} {}", argument(rng, ty)));
            match import.results.first().map(|ty| &**ty) {
                None => format!("{call})"),
                Some("i32") => format!("(call $keep (i64.extend_i32_u {call})))"),
                Some("i64") => format!("(call $keep {call}))"),
                Some("f32") => format!("(call $keep (i64.extend_i32_u (i32.reinterpret_f32 {call}))))"),
                Some(other) => panic!("an import returns {other}"),
            }
        });
        let calls: Vec<_> = calls.collect();
        if self.abi == PROGRAM.abi {
            text.push_str(&caught(rng, self.open, &calls));
        } else {
            write!(text, "{}\n{}\n", self.open, calls.join("\n")).unwrap();
        }
        write!(text, "(i64.store (i32.const 8) (global.get $mix))\n{})", self.close).unwrap();
        wat(&text)
    }
}

/// A generator of its own for each test, and each case.
pub(super) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// What a memory begins with: some that imports can take, and noise.
fn memory(rng: &mut StdRng) -> Vec<u8> {
    let mut memory = vec![0; 8 << 10];
    rng.fill_bytes(&mut memory[4_096..]);
    // Names, and numbers of options.
    for (to, from) in memory[4_096..].iter_mut().zip(b"host/test/echo {\"url\":\"http://other.internal/\"} key".iter())
    {
        *to = *from;
    }
    for one in 0..8 {
        let (at, kind) = (SUBSCRIPTIONS + 48 * one, u8::try_from(one % 4).unwrap());
        memory[at] = rng.random();
        match kind {
            // Of either clock, by its time or for a while.
            0 | 3 => {
                memory[at + 16] = rng.random_range(0..2);
                memory[at + 24..at + 28].copy_from_slice(&rng.random_range(0..2_000_000_u32).to_le_bytes());
                memory[at + 40] = rng.random_range(0..2);
            }
            // To read from standard input, to write to standard output.
            kind => (memory[at + 8], memory[at + 16]) = (kind, kind - 1),
        }
    }
    for one in 0..8 {
        let at = BUFFERS + 8 * one;
        memory[at..at + 4].copy_from_slice(&rng.random_range(3_000..60_000_u32).to_le_bytes());
        memory[at + 4..at + 8].copy_from_slice(&rng.random_range(0..4_000_u32).to_le_bytes());
    }
    memory
}

/// Begins a process that makes these calls, each behind a message that it writes; most where it catches traps.
fn caught(rng: &mut StdRng, open: &str, calls: &[String]) -> String {
    let functions =
        calls.iter().enumerate().map(|(number, call)| format!("(func $do{number} (call $message) {call})\n"));
    let chosen = (0..calls.len())
        .map(|number| format!("(if (i32.eq (local.get 0) (i32.const {number})) (then (call $do{number})))\n"));
    let catching = format!(
        "(func (export \"_lunatic_catch_trap\") (param i32 i32) (result i32) {} (i32.const 5))\n",
        chosen.collect::<String>()
    );
    let made = (0..calls.len()).map(|number| match rng.random_bool(0.9) {
        true => format!("(call $keep (i64.extend_i32_u (call $need4 (i32.const {number}) (i32.const 0))))\n"),
        false => format!("(call $do{number})\n"),
    });
    let made: String = made.collect();
    format!("{}{catching}{open}\n{made}", functions.collect::<String>())
}

/// The same where the noise is letters, which any text may have, and begins with a name.
fn texts(mut memory: Vec<u8>) -> Vec<u8> {
    memory[4_096..].iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
    memory[4_096..4_101].copy_from_slice(b"child");
    memory
}

fn argument(rng: &mut StdRng, ty: &str) -> String {
    let at = rng.random_range(0..KEPT);
    match (ty, rng.random_range(0..20)) {
        ("i64", 0..=5) => format!("(i64.load (i32.const {}))", RESULTS + 8 * at),
        ("i64", 6..=15) => format!("(i64.const {})", rng.random_range(0..64)),
        ("i64", _) => format!("(i64.const {})", rng.random::<i64>()),
        ("f32", _) => format!("(f32.const {})", rng.random_range(-1_000..1_000)),
        ("f64", _) => format!("(f64.const {})", rng.random_range(-1_000..1_000)),
        ("i32", 0..=6) => format!("(i32.const {})", rng.random_range(0..4)),
        ("i32", 7..=9) => format!("(i32.const {})", SUBSCRIPTIONS + 48 * rng.random_range(0..8)),
        ("i32", 10..=12) => format!("(i32.const {})", BUFFERS + 8 * rng.random_range(0..8)),
        ("i32", 13..=15) => format!("(i32.const {})", rng.random_range(0..64)),
        ("i32", 16 | 17) => format!("(i32.const {})", rng.random_range(3_000..60_000)),
        ("i32", 18) => format!("(i32.load (i32.const {}))", RESULTS + 8 * at),
        ("i32", _) => format!("(i32.const {})", [65_535, 65_536, 65_530, -1, i32::MIN, i32::MAX, rng.random()][at % 7]),
        (other, _) => panic!("an import takes {other}"),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(3 * bytes.len());
    bytes.iter().for_each(|byte| write!(text, "\\{byte:02x}").unwrap());
    text
}
