//! What a module or a component asks of who compiles and keeps it, by its sections.

use wasmparser::{Parser, Payload};

use super::codegen::Codegen;

/// Bytes of some sections, and how many entries others have; of components with those of all that is in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    all: usize,
    custom: usize,
    data: usize,
    /// How many there are, and the bytes of those and of a component's.
    types: usize,
    of_types: usize,
    globals: usize,
}

/// What the engine keeps of a type of functions, of both compilers, and of a global; and for a byte of a section of types, which may be that of
/// a parameter.
const TYPE_BYTES: usize = 1_200;
const GLOBAL_BYTES: usize = 128;
const TYPE_FACTOR: usize = 32;

impl Weight {
    /// That of these bytes, as far as they can be read.
    pub(crate) fn of(wasm: &[u8]) -> Self {
        let mut weight = Weight { all: wasm.len(), ..Weight::default() };
        for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
            let (to, more) = match payload {
                Payload::CustomSection(section) => (&mut weight.custom, section.range().len()),
                Payload::DataSection(section) => (&mut weight.data, section.range().len()),
                Payload::TypeSection(section) => {
                    weight.of_types = weight.of_types.saturating_add(section.range().len());
                    let groups = section.into_iter().map_while(Result::ok);
                    (&mut weight.types, groups.map(|group| group.types().len()).fold(0, usize::saturating_add))
                }
                Payload::GlobalSection(section) => (&mut weight.globals, entries(section.count())),
                Payload::ComponentTypeSection(section) => (&mut weight.of_types, section.range().len()),
                Payload::CoreTypeSection(section) => (&mut weight.of_types, section.range().len()),
                _ => continue,
            };
            *to = to.saturating_add(more);
        }
        weight
    }

    /// As how many bytes it counts for what its compiler may take: nothing is compiled of custom sections, and data are copied, but where
    /// code writes them.
    pub(super) fn compiled(self, codegen: Codegen) -> usize {
        let copied = if matches!(codegen, Codegen::Dense) { 0 } else { self.data / 4 * 3 };
        self.all.saturating_sub(self.custom).saturating_sub(copied)
    }

    /// What is kept of it beside its code with its data, its symbols and its names.
    pub(crate) fn kept(self) -> usize {
        let plain = self.all.saturating_sub(self.custom).saturating_sub(self.data).saturating_mul(2);
        let within = self.of_types.saturating_mul(TYPE_FACTOR);
        let entries = [self.types.saturating_mul(TYPE_BYTES), self.globals.saturating_mul(GLOBAL_BYTES), within];
        entries.into_iter().fold(plain, usize::saturating_add)
    }
}

fn entries(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn padding_is_nothing_to_compile_and_types_and_globals_are_more_than_their_bytes() {
        let of = |text: &str| Weight::of(&wat::parse_str(text).unwrap());
        let (bare, padding) = (of("(module)"), "x".repeat(10_000));
        let custom = of(&format!(r#"(module (@custom "padding" "{padding}"))"#));
        assert!(
            custom.compiled(Codegen::Fast) < bare.compiled(Codegen::Fast) + 100 && custom.kept() < bare.kept() + 100
        );
        let data = of(&format!(r#"(module (memory 1) (data "{padding}"))"#));
        assert!((2_500..2_700).contains(&data.compiled(Codegen::Fast)), "{}", data.compiled(Codegen::Fast));
        assert!(data.compiled(Codegen::Dense) > 10_000, "its code writes them");
        assert!(data.kept() < bare.kept() + 100, "they are with the code");
        let globals = "(global i32 (i32.const 0))".repeat(1_000);
        assert!(of(&format!("(module {globals})")).kept() > 128_000);
        let grouped = of("(module (rec (type (func)) (type (func)) (type (func))))");
        assert!(grouped.kept() > 3 * 1_200);
        let module = r#"(core module (type (func)) (type (func (param i32))))"#;
        assert!(of(&format!("(component {module} {module})")).kept() > 4 * 1_200);
    }
}
