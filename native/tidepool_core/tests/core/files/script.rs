//! Scripts of calls, and what they are to answer.
//!
//! A line of a script is a function, its arguments and its answer: `fd_tell 4 @0 = 0`. A text in quotes is two arguments, `@8` is a
//! place of the guest's memory, and `[@8 100]` a list of one buffer, of which the length is an argument, too. Other lines say what
//! is in a place, `u32 @0 5`, `u64 @0 5`, `u8 @0 5`, `text @8 'abc'`, or put there before all else: `bytes @8 0f00`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::WASI;
use crate::support::{Node, wat};

/// Where places begin, texts, and lists of buffers.
const PLACES: usize = 4_096;
const TEXTS: usize = 16_384;
const LISTS: usize = 65_536;
/// What a script does where something differs.
const DIFFERS: &str = "(func $differs (param $line i32) (param $found i32)
  (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (local.get $line))
  (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
  (call $proc_exit (i32.rem_u (local.get $found) (i32.const 126))))";

fn tokens(line: &str) -> Vec<String> {
    let (mut all, mut quoted) = (vec![String::new()], false);
    for char in line.chars() {
        match char {
            '\'' => quoted = !quoted,
            ' ' if !quoted => all.push(String::new()),
            _ => {}
        }
        if quoted || char != ' ' {
            all.last_mut().unwrap().push(char);
        }
    }
    all.into_iter().filter(|token| !token.is_empty()).collect()
}

/// A guest that does what a script says. Where something differs, it writes as many bytes as the number of that line, and exits with
/// what was answered.
pub(super) struct Script {
    types: BTreeMap<String, Vec<String>>,
    data: String,
    texts: usize,
    lists: usize,
}

impl Script {
    fn place(token: &str) -> usize {
        PLACES + token.trim_start_matches('@').parse::<usize>().unwrap()
    }

    fn text(&mut self, token: &str) -> (usize, usize) {
        let text = token.trim_matches('\'');
        let at = self.texts;
        self.texts += text.len();
        let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(self.data, "(data (i32.const {at}) \"{escaped}\")").unwrap();
        (at, text.len())
    }

    fn arguments(&mut self, given: &[String]) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut given = given.iter();
        while let Some(token) = given.next() {
            if token.starts_with('\'') {
                let (at, length) = self.text(token);
                arguments.extend([at.to_string(), length.to_string()]);
            } else if let Some(place) = token.strip_prefix('[') {
                let length: u32 = given.next().unwrap().trim_end_matches(']').parse().unwrap();
                let at = self.lists;
                self.lists += 8;
                let place = u32::try_from(Self::place(place)).unwrap();
                let bytes: String =
                    [place, length].iter().flat_map(|it| it.to_le_bytes()).map(|it| format!("\\{it:02x}")).collect();
                writeln!(self.data, "(data (i32.const {at}) \"{bytes}\")").unwrap();
                arguments.extend([at.to_string(), "1".into()]);
            } else if token.starts_with('@') {
                arguments.push(Self::place(token).to_string());
            } else {
                arguments.push(token.clone());
            }
        }
        arguments
    }

    fn line(&mut self, number: usize, line: &str) -> String {
        let tokens = tokens(line);
        let (name, rest) = tokens.split_first().unwrap();
        let differs = |found: &str, wanted: &str| {
            format!(
                "(if (i32.ne (local.tee $x {found}) (i32.const {wanted}))
                   (then (call $differs (i32.const {number}) (local.get $x))))\n"
            )
        };
        let at = |place: &str| format!("(i32.const {})", Self::place(place));
        match name.as_str() {
            "u8" => differs(&format!("(i32.load8_u {})", at(&rest[0])), &rest[1]),
            "u32" => differs(&format!("(i32.load {})", at(&rest[0])), &rest[1]),
            "u64" => differs(&format!("(i32.wrap_i64 (i64.load {}))", at(&rest[0])), &rest[1]),
            "bytes" => {
                let hex: Vec<String> =
                    rest[1].as_bytes().chunks(2).map(|it| String::from_utf8_lossy(it).into()).collect();
                writeln!(self.data, "(data (i32.const {}) \"\\{}\")", Self::place(&rest[0]), hex.join("\\")).unwrap();
                String::new()
            }
            "text" => {
                let bytes = rest[1].trim_matches('\'').bytes().enumerate();
                let byte = |(off, byte): (usize, u8)| {
                    differs(&format!("(i32.load8_u offset={off} {})", at(&rest[0])), &byte.to_string())
                };
                bytes.map(byte).collect()
            }
            name => {
                let [given @ .., equals, wanted] = rest else { panic!("{line}") };
                assert_eq!(equals, "=", "{line}");
                let arguments = self.arguments(given);
                let types = self.types.get(name).unwrap_or_else(|| panic!("there is no {name}")).clone();
                assert_eq!(arguments.len(), types.len(), "{line}: {types:?}");
                let arguments: String =
                    arguments.iter().zip(types).map(|(it, ty)| format!("({ty}.const {it})")).collect();
                differs(&format!("(call ${name} {arguments})"), wanted)
            }
        }
    }

    pub(super) fn module(node: &Node, script: &str) -> Vec<u8> {
        let imports = node.runtime.imports();
        let ours = imports.iter().filter(|it| it.module == WASI && it.abi == "wasi");
        let types = ours.map(|it| (it.name.clone(), it.params.clone())).collect();
        let mut all = Script { types, data: String::new(), texts: TEXTS, lists: LISTS };
        let lines = script.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let code: String = lines.map(|(number, line)| all.line(number + 1, line)).collect();
        let imported: String = all
            .types
            .iter()
            .map(|(name, params)| {
                let result = if name == "proc_exit" { "" } else { "(result i32)" };
                format!("(import \"{WASI}\" \"{name}\" (func ${name} (param {}) {result}))\n", params.join(" "))
            })
            .collect();
        wat(&format!(
            "(module {imported} (memory (export \"memory\") 8) {} {DIFFERS} (func (export \"_start\") (local $x i32) {code}))",
            all.data
        ))
    }
}
