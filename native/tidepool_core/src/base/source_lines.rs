//! Which line of its source a place in a module comes from, as the module's debug data (DWARF) say.
//!
//! A module may say anything: no more of it is kept than 4 MiB, and reading it takes time and memory in proportion to
//! that, whatever it says. It is read when it is asked for first, and then kept as a table.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use gimli::{AttributeValue, DebugLine, DebugLineOffset, EndianSlice, FileEntry, LineProgramHeader, LittleEndian};
use wasmparser::{Encoding, Parser, Payload};

/// Most bytes of debug data that are kept of a module. A module with more has no lines.
const MAX_BYTES: usize = 4 << 20;
/// Longest header of a line program: a file in it takes up to a hundred times as much memory while it is read.
const MAX_HEADER_BYTES: u32 = 256 << 10;
/// Most entries of the table, and most files of it.
const MAX_ROWS: usize = 500_000;
const MAX_FILES: usize = 20_000;
/// Most looks at a file, of all programs together: each program has files of its own, which may be those of others.
const MAX_LOOKS: usize = 100_000;
/// Longest path of a file, and of each of its two parts while it is read.
const MAX_PATH_BYTES: usize = 256;
/// The sections that lines are found in: programs, and names of files, which version 5 keeps apart.
const SECTIONS: [&str; 2] = [".debug_line", ".debug_line_str"];
/// Of `unit_length`, which counts what is behind it.
const LENGTH_BYTES: usize = 4;
/// The number of a file that is not in the table.
const NO_FILE: u32 = u32::MAX;

/// A line of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// The file, as its compiler was told: a path of the machine that it ran on, or relative to its folder.
    pub file: String,
    /// From 1.
    pub line: u32,
}

/// Lines of a module, or of those in a component.
#[derive(Debug)]
pub struct SourceLines {
    /// Until they are read.
    parts: Mutex<Vec<Part>>,
    table: OnceLock<Table>,
}

/// What one module says.
#[derive(Debug, Default)]
struct Part {
    /// From where the contents of its code section begin to its end.
    code: Range<usize>,
    sections: [Vec<u8>; SECTIONS.len()],
}

impl Part {
    fn says_something(&self) -> bool {
        let [programs, ..] = &self.sections;
        !self.code.is_empty() && !programs.is_empty()
    }
}

/// Two frames are of one module, or not.
impl PartialEq for SourceLines {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for SourceLines {}

#[derive(Debug, Default)]
struct Table {
    /// By address.
    rows: Vec<Row>,
    files: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    /// From this offset on.
    address: u32,
    file: u32,
    /// 0 for none.
    line: u32,
}

impl SourceLines {
    /// Of a module, or of all in a component; `None` when there are no such data, or too many.
    #[must_use]
    pub fn of(wasm: &[u8]) -> Option<Self> {
        let (mut parts, mut bytes) = (Vec::<Part>::new(), 0_usize);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::Version { encoding: Encoding::Module, .. }) => parts.push(Part::default()),
                Ok(Payload::CodeSectionStart { range, .. }) => {
                    if let Some(part) = parts.last_mut() {
                        part.code = range.start..wasm.len();
                    }
                }
                Ok(Payload::End(end)) => {
                    // The first one behind it is its own, and those of components come later.
                    if let Some(part) = parts.last_mut().filter(|part| part.code.end > end) {
                        part.code.end = end;
                    }
                }
                Ok(Payload::CustomSection(section)) => {
                    let kept = parts.last_mut().and_then(|part| {
                        let mut kept = SECTIONS.iter().zip(&mut part.sections);
                        kept.find(|(name, _)| **name == section.name()).map(|(_name, kept)| kept)
                    });
                    if let Some(kept) = kept {
                        bytes = bytes.saturating_add(section.data().len());
                        if bytes > MAX_BYTES {
                            return None;
                        }
                        *kept = section.data().to_vec();
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        parts.retain(Part::says_something);
        (!parts.is_empty()).then(|| SourceLines { parts: Mutex::new(parts), table: OnceLock::new() })
    }

    /// The most that it takes, for it is a table once it was read: a row takes a byte of a section at least, and a file three.
    pub(crate) fn most_bytes(&self) -> usize {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = parts.iter().flat_map(|part| &part.sections).map(Vec::len).sum();
        let (rows, files) = match self.table.get() {
            Some(table) => (table.rows.len(), table.files.len()),
            None => (bytes.min(MAX_ROWS), (bytes / 3).min(MAX_FILES)),
        };
        bytes + rows * size_of::<Row>() + files * (MAX_PATH_BYTES + size_of::<String>())
    }

    /// The line of what stands at an offset of the module. The first time takes some milliseconds for each MiB of debug data.
    #[must_use]
    pub fn find(&self, offset: usize) -> Option<SourceLine> {
        let (file, line) = self.at(offset)?;
        Some(SourceLine { file: self.file(file)?.to_owned(), line })
    }

    /// The same by numbers: that of the file, and the line's.
    pub(crate) fn at(&self, offset: usize) -> Option<(u32, u32)> {
        self.table().find(u32::try_from(offset).ok()?)
    }

    /// The path of a file.
    pub(crate) fn file(&self, number: u32) -> Option<&str> {
        self.files().get(usize::try_from(number).ok()?).map(String::as_str)
    }

    /// All files, by their numbers.
    pub(crate) fn files(&self) -> &[String] {
        &self.table().files
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| {
            let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            Table::read(&std::mem::take(&mut *parts))
        })
    }
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

impl Table {
    fn find(&self, address: u32) -> Option<(u32, u32)> {
        let after = self.rows.partition_point(|row| row.address <= address);
        let row = self.rows.get(after.checked_sub(1)?)?;
        self.files.get(usize::try_from(row.file).ok()?)?;
        (row.line > 0).then_some((row.file, row.line))
    }

    /// What can't be read has no lines; what is before and after it has.
    fn read(parts: &[Part]) -> Self {
        let mut reading = Reading::default();
        for part in parts {
            let [programs, names] = &part.sections;
            let bound = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
            (reading.names, reading.code) = (names, bound(part.code.start)..bound(part.code.end));
            reading.programs(programs);
        }
        let mut table = reading.table;
        // Stable: of two programs that speak of one place the later one holds.
        table.rows.sort_by_key(|row| row.address);
        table.rows.shrink_to_fit();
        table
    }
}

/// A table on its way.
#[derive(Default)]
struct Reading<'a> {
    table: Table,
    known: HashMap<String, u32>,
    /// The numbers of files by a hash of their names and folders as these were found: to read them takes far longer than that.
    read: HashMap<u64, u32>,
    hasher: RandomState,
    /// How often a file was looked for.
    looks: usize,
    /// Of the module that is read, and from where its code begins to its end.
    names: &'a [u8],
    code: Range<u32>,
}

impl Reading<'_> {
    /// All programs of a module.
    fn programs(&mut self, programs: &[u8]) {
        let mut at = 0_usize;
        while let Some(length) = u32_at(programs, at) {
            // What follows this length is of the 64-bit format, which no compiler writes for 32-bit memories.
            if length >= 0xffff_fff0 || self.table.rows.len() >= MAX_ROWS {
                break;
            }
            if header_length(programs, at).is_some_and(|header| header <= MAX_HEADER_BYTES) {
                // A program that ends in an error has told what it told.
                let _ = self.program(programs, at);
            }
            at = at.saturating_add(LENGTH_BYTES).saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        }
    }

    fn program(&mut self, programs: &[u8], at: usize) -> gimli::Result<()> {
        let line = DebugLine::new(programs, LittleEndian);
        let program = line.program(DebugLineOffset(at), 4, None, None)?;
        // Of this program, by their numbers in it.
        let mut files: HashMap<u64, u32> = HashMap::new();
        let mut rows = program.rows();
        let mut sequence: Vec<Row> = Vec::new();
        while let Some((header, row)) = rows.next_row()? {
            let address = u32::try_from(row.address()).unwrap_or(u32::MAX);
            let file = match files.get(&row.file_index()) {
                Some(file) => *file,
                None => {
                    let file = self.file(header, header.file(row.file_index()));
                    files.insert(row.file_index(), file);
                    file
                }
            };
            let line = row.line().filter(|_| !row.end_sequence());
            let line = line.map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
            if sequence.last().is_none_or(|last| (last.file, last.line) != (file, line)) {
                sequence.push(Row { address, file, line });
            }
            if row.end_sequence() {
                self.keep(&mut sequence);
            }
            if self.table.rows.len() + sequence.len() >= MAX_ROWS {
                break;
            }
        }
        self.keep(&mut sequence);
        Ok(())
    }

    /// A function that the linker has dropped stands at 0, or at the end of all addresses.
    fn keep(&mut self, sequence: &mut Vec<Row>) {
        let dropped = sequence.first().is_none_or(|row| row.address == 0 || row.address >= 0xffff_fff0);
        let Range { start, end } = self.code;
        // Nothing that a module says is about another.
        let rows = sequence.drain(..).map(|row| Row { address: row.address.saturating_add(start).min(end), ..row });
        if !dropped {
            self.table.rows.extend(rows);
        }
    }

    /// The number of a file by its path. No more are read than are kept, and none once too many were looked for: a module has room for
    /// hundreds of thousands.
    fn file(&mut self, header: &LineProgramHeader<Slice<'_>>, file: Option<&FileEntry<Slice<'_>>>) -> u32 {
        if self.looks >= MAX_LOOKS {
            return NO_FILE;
        }
        self.looks += 1;
        let names = self.names;
        let (folder, name) = file.map_or((b"".as_slice(), b"".as_slice()), |file| {
            // The first folder is the one that the compiler ran in.
            let folder = file.directory(header).filter(|_| file.directory_index() != 0);
            (folder.map_or(b"".as_slice(), |folder| bytes(names, folder)), bytes(names, file.path_name()))
        });
        let hash = self.hasher.hash_one((folder, name));
        if let Some(number) = self.read.get(&hash) {
            return *number;
        }
        if self.read.len() >= MAX_FILES {
            return NO_FILE;
        }
        let number = self.number(path(folder, name));
        self.read.insert(hash, number);
        number
    }

    fn number(&mut self, path: String) -> u32 {
        if let Some(known) = self.known.get(&path) {
            return *known;
        }
        let number = u32::try_from(self.table.files.len()).unwrap_or(NO_FILE);
        self.table.files.push(path.clone());
        self.known.insert(path, number);
        number
    }
}

/// What stands for a text, of those that are in the programs, or are names. Longer ones are cut anyway: not all of them is looked at.
fn bytes<'t>(names: &'t [u8], value: AttributeValue<Slice<'t>>) -> &'t [u8] {
    let bytes = match value {
        AttributeValue::String(text) => text.slice(),
        AttributeValue::DebugLineStrRef(offset) => until_zero(names, offset.0),
        _ => b"".as_slice(),
    };
    bytes.get(..bytes.len().min(MAX_PATH_BYTES)).unwrap_or_default()
}

/// The path of a file in a folder.
fn path(folder: &[u8], name: &[u8]) -> String {
    let (folder, name) = (text(folder), text(name));
    shortened(if folder.is_empty() || name.starts_with('/') { name } else { format!("{folder}/{name}") })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|letter| !letter.is_control()).collect()
}

/// The end of a long path: that tells more.
fn shortened(path: String) -> String {
    let end = path.ceil_char_boundary(path.len().saturating_sub(MAX_PATH_BYTES));
    if end == 0 { path } else { format!("…{}", path.get(end..).unwrap_or_default()) }
}

fn until_zero(names: &[u8], offset: usize) -> &[u8] {
    let names = names.get(offset..).unwrap_or_default();
    // As long as a name may be, and no longer: names may overlap.
    let names = names.get(..names.len().min(MAX_PATH_BYTES)).unwrap_or_default();
    names.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// Of the program at an offset: from version 5 on two bytes more are before it.
fn header_length(programs: &[u8], at: usize) -> Option<u32> {
    let version = programs.get(at.checked_add(LENGTH_BYTES)?..)?.get(..2)?;
    let before = if version == [5, 0] { 8 } else { 6 };
    u32_at(programs, at.checked_add(before)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails here fails the test")]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const CODE: [u8; 5] = [1, 3, 0, 0x00, 0x0b];

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![id];
        let mut size = content.len();
        while size >= 0x80 {
            bytes.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        [bytes, content.to_vec()].concat()
    }

    fn custom(name: &str, data: &[u8]) -> Vec<u8> {
        section(0, &[&[name.len() as u8][..], name.as_bytes(), data].concat())
    }

    /// A program of version 4 with these instructions, for `src/lib.rs`.
    fn program(instructions: &[u8]) -> Vec<u8> {
        let lengths = [0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
        let names = b"src\0\0lib.rs\0\x01\0\0\0";
        let header = [&[1, 1, 1, -5_i8 as u8, 14, 13][..], &lengths, names].concat();
        let rest = [&[4, 0][..], (header.len() as u32).to_le_bytes().as_slice(), &header, instructions].concat();
        [(rest.len() as u32).to_le_bytes().as_slice(), &rest].concat()
    }

    /// From `address` on line 7, two bytes later line 9, and three later the end.
    fn lines_at(address: u32) -> Vec<u8> {
        let set = [&[0, 5, 2][..], address.to_le_bytes().as_slice()].concat();
        program(&[set, vec![3, 6, 1, 2, 2, 3, 2, 1, 2, 3, 0, 1, 1]].concat())
    }

    fn module(programs: &[u8]) -> Vec<u8> {
        let code = section(10, &CODE);
        let (head, functions) = (b"\0asm\x01\0\0\0".as_slice(), section(3, &[1, 0]));
        [head, &functions, &code, &custom("name", b""), &custom(".debug_line", programs)].concat()
    }

    /// Where the contents of the code section begin.
    const START: usize = 14;

    fn line(lines: &SourceLines, address: usize) -> Option<u32> {
        lines.find(START + address).map(|at| at.line)
    }

    #[test]
    fn what_stands_between_two_rows_is_of_the_first_ones_line() {
        let lines = SourceLines::of(&module(&[lines_at(100), lines_at(20)].concat())).unwrap();
        assert_eq!(lines.find(START + 100), Some(SourceLine { file: "src/lib.rs".into(), line: 7 }));
        let told: Vec<_> = [19, 20, 21, 22, 24, 25, 99, 101, 102, 104, 105].map(|at| line(&lines, at)).to_vec();
        let seven_nine = [Some(7), Some(7), Some(9), Some(9), None];
        assert_eq!(told, [&[None][..], &seven_nine[..], &[None], &seven_nine[1..]].concat());
        assert_eq!((lines.find(0), lines.find(usize::MAX)), (None, None));
    }

    #[test]
    fn each_module_of_a_component_has_its_lines_and_says_nothing_of_another() {
        // The first speaks of far more than it is.
        let [first, second] = [module(&[lines_at(2), lines_at(150)].concat()), module(&lines_at(20))];
        let inner = [b"\0asm\x0d\0\x01\0".as_slice(), &section(1, &second)].concat();
        let wasm = [b"\0asm\x0d\0\x01\0".as_slice(), &section(1, &first), &section(4, &inner)].concat();
        let lines = SourceLines::of(&wasm).unwrap();
        let at = |module: &[u8]| wasm.windows(module.len()).position(|window| window == module).unwrap() + START;
        let told = [at(&first) + 2, at(&first) + 4, at(&second) - START, at(&second) + 20, at(&second) + 22];
        assert_eq!(told.map(|at| lines.find(at).map(|found| found.line)), [Some(7), Some(9), None, Some(7), Some(9)]);
    }

    #[test]
    fn functions_that_the_linker_dropped_say_nothing_of_those_that_are_there() {
        let lines = SourceLines::of(&module(&[lines_at(0), lines_at(u32::MAX), lines_at(20)].concat())).unwrap();
        assert_eq!([1, 3, 20].map(|at| line(&lines, at)), [None, None, Some(7)]);
    }

    #[test]
    fn a_module_without_debug_data_or_with_too_much_of_it_has_no_lines() {
        assert!(SourceLines::of(&module(b"")).is_none());
        assert!(SourceLines::of(b"").is_none());
        assert!(SourceLines::of(&module(&vec![0; MAX_BYTES + 1])).is_none());
    }

    #[test]
    fn damaged_data_are_read_in_time_and_without_a_panic() {
        let good = [lines_at(20), lines_at(40)].concat();
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xfe, 0xff, good[at] ^ 1, good[at] ^ 0x10] {
                let mut damaged = good.clone();
                damaged[at] = value;
                let lines = SourceLines::of(&module(&damaged)).unwrap();
                for address in 0..60 {
                    let _ = line(&lines, address);
                }
            }
            let _ = SourceLines::of(&module(&good[..at])).map(|lines| line(&lines, 20));
        }
    }

    fn uleb(mut number: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    /// A program of version 5 with a row of each of so many files. The name of the first begins at an offset, and each next one so much
    /// behind it.
    fn files(count: u32, from: u32, apart: u32) -> Vec<u8> {
        let mut header = [&[1, 1, 1, -5_i8 as u8, 14, 13][..], &[0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1]].concat();
        // Two folders, which have names alone; files have one, and the number of their folder.
        header.extend([1, 1, 0x1f, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.extend([2, 1, 0x1f, 2, 0x0b]);
        header.extend(uleb(count));
        let mut instructions: Vec<u8> = vec![0, 5, 2, 1, 0, 0, 0];
        for file in 0..count {
            header.extend((from + file * apart).to_le_bytes());
            header.push(1);
            instructions.push(4);
            instructions.extend(uleb(file));
            instructions.push(0x21);
        }
        instructions.extend([0, 1, 1]);
        let length = (header.len() as u32).to_le_bytes();
        let rest = [&[5, 0, 4, 0][..], length.as_slice(), &header, &instructions].concat();
        [(rest.len() as u32).to_le_bytes().as_slice(), &rest].concat()
    }

    #[test]
    fn however_many_files_programs_name_no_more_are_read_than_are_kept() {
        // To read such names takes longest: most of their letters are none.
        let mut random = 1_u32;
        let mut letter = || {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            random as u8 | 0x80
        };
        let names: Vec<u8> = (0..310_000).map(|_at| letter()).collect();
        let read = |programs: u32| {
            let all: Vec<u8> = (0..programs).flat_map(|at| files(16_000, at * 16_000, 1)).collect();
            let lines = SourceLines::of(&[module(&all), custom(".debug_line_str", &names)].concat()).unwrap();
            let began = Instant::now();
            let count = lines.files().len();
            (count, began.elapsed())
        };
        let ((few, soon), (many, later)) = (read(1), read(19));
        assert!(few > 1_000 && few < many && many <= MAX_FILES, "{few} and {many}");
        assert!(later < soon * 8 + Duration::from_millis(200), "{soon:?} and {later:?}");
    }

    #[test]
    fn a_file_that_programs_name_again_and_again_is_one_until_too_many_were_looked_for() {
        for (programs, is_known) in [(1, true), (7, false)] {
            let all = [files(16_000, 0, 0).repeat(programs), lines_at(40)].concat();
            let lines = SourceLines::of(&[module(&all), custom(".debug_line_str", b"one\0")].concat()).unwrap();
            assert_eq!(lines.files(), ["one/one", "src/lib.rs"].get(..1 + usize::from(is_known)).unwrap());
            assert_eq!(line(&lines, 40), is_known.then_some(7), "{programs}");
        }
    }

    #[test]
    fn as_many_rows_and_files_as_fit_into_the_bytes_are_bounded_and_soon_read() {
        let began = Instant::now();
        // Each of these instructions is a row of another line.
        let mut rows = vec![0, 5, 2, 1, 0, 0, 0];
        rows.resize(MAX_BYTES - 100, 0x21);
        let lines = SourceLines::of(&module(&program(&rows))).unwrap();
        assert!(line(&lines, 1_000).is_some());
        assert!(lines.table.get().unwrap().rows.len() <= MAX_ROWS);
        // And as many programs as fit, of the shortest kind.
        let lines = SourceLines::of(&module(&program(&[]).repeat(60_000))).unwrap();
        assert_eq!(line(&lines, 1_000), None);
        // A header that says that it is longer than it may be is not read.
        let mut long = lines_at(20);
        long[6..10].copy_from_slice(&(MAX_HEADER_BYTES + 1).to_le_bytes());
        let lines = SourceLines::of(&module(&[long, vec![0; 1 << 20]].concat())).unwrap();
        assert_eq!(line(&lines, 20), None);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
