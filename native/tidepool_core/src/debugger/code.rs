//! A module's instructions as its author knows them, by where they stand in what was compiled.

use std::ops::Range;
use std::sync::Arc;

use wasmparser::{BinaryReaderError, FunctionBody, KnownCustom, Name, Operator, Parser, Payload, TypeRef};

use super::command::Where;
use super::error::DebugError;
use crate::base::origin::Origin;
use crate::base::source_lines::SourceLines;
use crate::base::trap::readable;

/// Most names that are listed where a name means several.
const LISTED: usize = 5;

/// A line of the source: the number of its file, and its own. Without debug data each instruction is a line of no file.
pub(super) type Line = (u32, u32);

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it stands in the module that was compiled.
    pub(super) pc: u32,
    /// Where it stands in the one that was deployed.
    pub(super) offset: u32,
    /// The index of its function.
    pub(super) function: u32,
    /// `None` where the debug data say nothing of it.
    pub(super) line: Option<Line>,
}

/// A function of the module that was deployed.
#[derive(Debug, Default)]
pub(super) struct Function {
    name: Option<String>,
    /// Its parameters and other locals.
    pub(super) locals: usize,
    body: Range<usize>,
}

/// The instructions of a module.
pub(super) struct Code {
    deployed: Vec<u8>,
    /// In the order of what was compiled.
    places: Vec<Place>,
    /// Those that are not imported, by their index less that of the first.
    functions: Vec<Function>,
    pub(super) imported: u32,
    lines: Option<Arc<SourceLines>>,
}

impl Code {
    /// That of a module which was compiled, and which was made of `deployed` as `origin` says.
    ///
    /// # Errors
    /// When one of them can't be read.
    pub(super) fn of(
        compiled: &[u8],
        deployed: &[u8],
        origin: &Origin,
        lines: Option<Arc<SourceLines>>,
    ) -> Result<Self, BinaryReaderError> {
        let (functions, imported, mut starts) = outline(deployed)?;
        starts.sort_unstable();
        let mut places = Vec::new();
        let mut index = imported;
        for payload in Parser::new(0).parse_all(compiled) {
            let Payload::CodeSectionEntry(body) = payload? else { continue };
            // What was added to the module is none of its author's.
            if !origin.moves.added(index) {
                for instruction in body.get_operators_reader()?.into_iter_with_offsets() {
                    let (_operator, pc) = instruction?;
                    let Some(offset) = origin.deployed(pc).and_then(|it| u32::try_from(it).ok()) else { continue };
                    if let (Ok(pc), Ok(_)) = (u32::try_from(pc), starts.binary_search(&offset)) {
                        places.push(Place { pc, offset, function: index, line: None });
                    }
                }
            }
            index = index.saturating_add(1);
        }
        // What was added before an instruction seems to stand where that stands: the last of them is the instruction itself.
        places.sort_by_key(|place| (place.offset, std::cmp::Reverse(place.pc)));
        places.dedup_by_key(|place| place.offset);
        for place in &mut places {
            place.line = match &lines {
                Some(lines) => usize::try_from(place.offset).ok().and_then(|offset| lines.at(offset)),
                None => Some((u32::MAX, place.offset)),
            };
        }
        places.sort_by_key(|place| place.pc);
        Ok(Code { deployed: deployed.to_vec(), places, functions, imported, lines })
    }

    /// The instruction at a place of the compiled module.
    pub(super) fn at(&self, pc: u32) -> Option<&Place> {
        self.places.binary_search_by_key(&pc, |place| place.pc).ok().and_then(|at| self.places.get(at))
    }

    /// The same, or the last one before it: of a function that has called another.
    pub(super) fn near(&self, pc: u32) -> Option<&Place> {
        let after = self.places.partition_point(|place| place.pc <= pc);
        self.places.get(after.checked_sub(1)?)
    }

    /// A function that is not imported.
    pub(super) fn function(&self, index: u32) -> Option<&Function> {
        self.functions.get(usize::try_from(index.checked_sub(self.imported)?).ok()?)
    }

    /// What a function is called.
    pub(super) fn name(&self, index: u32) -> String {
        let name = self.function(index).and_then(|function| function.name.clone());
        name.unwrap_or_else(|| format!("function {index}"))
    }

    /// A line, as people write it; `None` without debug data.
    pub(super) fn line(&self, (file, line): Line) -> Option<String> {
        Some(format!("{}:{line}", self.lines.as_ref()?.file(file)?))
    }

    /// Where something stands, as people read it.
    pub(super) fn told(&self, place: &Place) -> String {
        let line = place.line.and_then(|line| self.line(line));
        let line = line.map_or_else(String::new, |line| format!(" at {line}"));
        format!("{}{line} (offset {})", self.name(place.function), place.offset)
    }

    /// Where a breakpoint is to be: a text that says it, and the places in the compiled module.
    ///
    /// # Errors
    /// When no code is there, or what is asked for may be several.
    pub(super) fn find(&self, wanted: &Where) -> Result<(String, Vec<u32>), DebugError> {
        match wanted {
            Where::Line { file, line } => self.find_line(file, *line),
            Where::Function(name) => self.find_function(name),
            Where::Offset(offset) => {
                let place = self.places.iter().find(|place| place.offset == *offset);
                let place = place.ok_or_else(|| DebugError::NoPlace(format!("offset {offset}")))?;
                Ok((self.told(place), vec![place.pc]))
            }
        }
    }

    /// The first instructions of a line, or of the next one that has some.
    fn find_line(&self, file: &str, line: u32) -> Result<(String, Vec<u32>), DebugError> {
        let no_place = || DebugError::NoPlace(format!("{file}:{line}"));
        let lines = self.lines.as_ref().ok_or_else(|| {
            DebugError::NoPlace(format!("{file}:{line}: the module has no debug data, or too much of them"))
        })?;
        let is_it = |path: &str| path == file || path.strip_suffix(file).is_some_and(|rest| rest.ends_with('/'));
        let files: Vec<u32> =
            (0..).zip(lines.files()).filter(|(_, path)| is_it(path)).map(|(number, _)| number).collect();
        let in_file = || self.places.iter().filter_map(|place| place.line).filter(|(it, _)| files.contains(it));
        let found = in_file().map(|(_, found)| found).filter(|found| *found >= line).min().ok_or_else(no_place)?;
        let mut with_line: Vec<u32> = in_file().filter(|(_, it)| *it == found).map(|(file, _)| file).collect();
        with_line.sort_unstable();
        with_line.dedup();
        let [file] = &*with_line else {
            return Err(ambiguous(file, with_line.iter().filter_map(|file| lines.file(*file)).map(Into::into)));
        };
        let wanted = Some((*file, found));
        let before = std::iter::once(None).chain(self.places.iter().map(Some));
        let begins = self.places.iter().zip(before).filter(|(place, before)| {
            place.line == wanted && before.is_none_or(|it| it.line != wanted || it.function != place.function)
        });
        let text = self.line((*file, found)).ok_or_else(no_place)?;
        Ok((text, begins.map(|(place, _)| place.pc).collect()))
    }

    fn find_function(&self, name: &str) -> Result<(String, Vec<u32>), DebugError> {
        let all = || (self.imported..).zip(&self.functions);
        let indices: Vec<u32> = match name.strip_prefix('#') {
            Some(index) => index.parse().into_iter().collect(),
            None => {
                let named = |is_it: &dyn Fn(&str) -> bool| -> Vec<u32> {
                    let found = all().filter(|(_, function)| function.name.as_deref().is_some_and(is_it));
                    found.map(|(index, _)| index).collect()
                };
                let exact = named(&|it| it == name);
                let ends =
                    |it: &str| it.strip_suffix(name).is_some_and(|rest| rest.ends_with("::") || rest.ends_with('.'));
                if exact.is_empty() { named(&ends) } else { exact }
            }
        };
        let first = |index: u32| self.places.iter().find(|place| place.function == index);
        let found: Vec<&Place> = indices.into_iter().filter_map(first).collect();
        match &*found {
            [] => Err(DebugError::NoPlace(format!("a function {name}"))),
            [place] => Ok((self.told(place), vec![place.pc])),
            several => Err(ambiguous(
                name,
                several.iter().map(|place| format!("#{} {}", place.function, self.name(place.function))),
            )),
        }
    }

    /// The instructions around one, as text, `around` before and after it.
    pub(super) fn listed(&self, place: &Place, around: usize) -> Vec<String> {
        let Some(body) = self.function(place.function).map(|function| function.body.clone()) else { return Vec::new() };
        let Some(bytes) = self.deployed.get(body.clone()) else { return Vec::new() };
        let body = FunctionBody::new(wasmparser::BinaryReader::new(bytes, body.start));
        let Ok(reader) = body.get_operators_reader() else { return Vec::new() };
        let all: Vec<(Operator<'_>, usize)> = reader.into_iter_with_offsets().filter_map(Result::ok).collect();
        let here = usize::try_from(place.offset).unwrap_or(usize::MAX);
        let at = all.partition_point(|(_, offset)| *offset < here);
        let shown = all.iter().skip(at.saturating_sub(around)).take(around.min(at) + around + 1);
        let line = |(operator, offset): &(Operator<'_>, usize)| {
            format!("{} {offset:>8}  {operator:?}", if *offset == here { "→" } else { " " })
        };
        shown.map(line).collect()
    }
}

/// The functions of a module, how many it imports, and where its instructions stand.
fn outline(wasm: &[u8]) -> Result<(Vec<Function>, u32, Vec<u32>), BinaryReaderError> {
    let (mut functions, mut imported, mut starts) = (Vec::<Function>::new(), 0_u32, Vec::new());
    let (mut parameters, mut types, mut exported) = (Vec::new(), Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    parameters.push(ty?.params().len());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    types.push(usize::try_from(ty?).unwrap_or(usize::MAX));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == wasmparser::ExternalKind::Func {
                        exported.push((export.index, readable(export.name)));
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let ty = types.get(functions.len()).and_then(|ty| parameters.get(*ty));
                let mut locals = ty.copied().unwrap_or(0);
                for group in body.get_locals_reader()? {
                    locals = locals.saturating_add(usize::try_from(group?.0).unwrap_or(usize::MAX));
                }
                for instruction in body.get_operators_reader()?.into_iter_with_offsets() {
                    starts.extend(u32::try_from(instruction?.1).ok());
                }
                functions.push(Function { name: None, locals, body: body.range() });
            }
            Payload::CustomSection(section) => {
                let KnownCustom::Name(names) = section.as_known() else { continue };
                // Names are of no use where they can't be read, and of no harm.
                for name in names.into_iter().map_while(Result::ok) {
                    let Name::Function(named) = name else { continue };
                    for naming in named.into_iter().map_while(Result::ok) {
                        name_function(&mut functions, imported, naming.index, readable(naming.name));
                    }
                }
            }
            _ => {}
        }
    }
    for (index, name) in exported {
        name_function(&mut functions, imported, index, name);
    }
    Ok((functions, imported, starts))
}

/// Names a function that has no name yet.
fn name_function(functions: &mut [Function], imported: u32, index: u32, name: String) {
    let at = index.checked_sub(imported).and_then(|at| usize::try_from(at).ok());
    if let Some(function) = at.and_then(|at| functions.get_mut(at)) {
        function.name.get_or_insert(name);
    }
}

fn ambiguous(wanted: &str, found: impl Iterator<Item = String>) -> DebugError {
    let found: Vec<String> = found.collect();
    let more = found.len().saturating_sub(LISTED);
    let mut text = found.into_iter().take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    DebugError::Ambiguous { wanted: wanted.to_owned(), found: text }
}
