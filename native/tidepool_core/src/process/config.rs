//! What a process may do and use, and what it finds.

use std::sync::Arc;
use std::time::Duration;

use super::files::folder::Folders;
use crate::base::request::Away;

/// The largest memory that there is, in bytes.
const MAX_MEMORY: u64 = (4 << 30) - 1;

/// What a process finds beside clocks and randomness.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// Arguments; the first is the program's name.
    pub(crate) args: Vec<String>,
    /// Names and values.
    pub(crate) env: Vec<(String, String)>,
    /// Folders that are asked for.
    pub(crate) preopens: Vec<String>,
}

/// The configuration of a process.
#[derive(Clone)]
pub(crate) struct Config {
    /// Largest memory, in bytes.
    pub(crate) max_memory: u64,
    /// CPU time in units of [`FUEL_US`]; `None` is without limit.
    pub(crate) max_fuel: Option<u64>,
    pub(crate) may_compile_modules: bool,
    pub(crate) may_create_configs: bool,
    pub(crate) may_spawn: bool,
    /// Shared with all processes that were made with it.
    pub(crate) world: Arc<World>,
    /// The folders that it has; those that `world` asks for, once they are found.
    pub(crate) folders: Folders,
    /// Bytes of `world`.
    text_bytes: usize,
}

/// CPU time of a unit of fuel, in µs.
pub(crate) const FUEL_US: u64 = 50;
/// The least CPU time that a process gets, in µs.
const MIN_FUEL_US: u64 = 200;
/// What an entry takes beside its text.
const ENTRY_BYTES: usize = 64;
/// Most bytes of environment, arguments and folders together.
const MAX_TEXT_BYTES: usize = 1 << 20;

impl Default for Config {
    /// What a guest's new configuration is: nothing is permitted, and nothing limited.
    fn default() -> Self {
        Config {
            max_memory: MAX_MEMORY,
            max_fuel: None,
            may_compile_modules: false,
            may_create_configs: false,
            may_spawn: false,
            world: Arc::default(),
            folders: Arc::default(),
            text_bytes: 0,
        }
    }
}

impl Config {
    /// The configuration of a program's first process.
    pub(crate) fn first(world: World, folders: Folders, cpu_time: Option<Duration>) -> Self {
        let args = world.args.iter().map(String::len);
        let texts = args.chain(world.env.iter().map(|(name, value)| name.len() + value.len()));
        let text_bytes = texts.map(|bytes| bytes + ENTRY_BYTES).sum();
        let units = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).div_ceil(FUEL_US);
        Config {
            max_fuel: cpu_time.map(units),
            may_compile_modules: true,
            may_create_configs: true,
            may_spawn: true,
            world: Arc::new(world),
            folders,
            text_bytes,
            ..Config::default()
        }
    }

    /// What a process of another node has been given for one on this.
    ///
    /// # Errors
    /// A text, when its texts are more than one may have.
    pub(crate) fn arrived(away: Away) -> Result<Self, String> {
        let Away { max_memory, max_fuel, may: [may_compile_modules, may_create_configs, may_spawn], args, env, .. } =
            away;
        let config = Config::first(World { args, env, ..World::default() }, Folders::default(), None);
        if config.text_bytes > MAX_TEXT_BYTES {
            return Err(format!("its environment and arguments have more than {MAX_TEXT_BYTES} bytes"));
        }
        Ok(Config { max_memory, max_fuel, may_compile_modules, may_create_configs, may_spawn, ..config })
    }

    /// What a process of another node is to be given of this.
    pub(crate) fn away(&self, node: u64, total_cpu: Option<Duration>, entry: String, params: Vec<u8>) -> Away {
        Away {
            node,
            entry,
            params,
            max_memory: self.max_memory,
            max_fuel: self.max_fuel,
            total_cpu_us: total_cpu.map(|total| u64::try_from(total.as_micros()).unwrap_or(u64::MAX)),
            may: [self.may_compile_modules, self.may_create_configs, self.may_spawn],
            args: self.world.args.clone(),
            env: self.world.env.clone(),
        }
    }

    /// What its texts take on the host.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// What a process gets whose maker asks for `self` and has `maker` itself: never more. Folders are found apart.
    pub(crate) fn within(&self, maker: &Config) -> Self {
        let max_fuel = match (self.max_fuel, maker.max_fuel) {
            (Some(own), Some(makers)) => Some(own.min(makers)),
            (own, makers) => own.or(makers),
        };
        Config {
            max_memory: self.max_memory.min(maker.max_memory),
            max_fuel,
            may_compile_modules: self.may_compile_modules && maker.may_compile_modules,
            may_create_configs: self.may_create_configs && maker.may_create_configs,
            may_spawn: self.may_spawn && maker.may_spawn,
            ..self.clone()
        }
    }

    /// CPU time that the process may use, in µs; `None` is without limit.
    pub(crate) fn cpu_time_us(&self) -> Option<u64> {
        self.max_fuel.map(|units| units.saturating_mul(FUEL_US).max(MIN_FUEL_US))
    }

    /// What its texts would take with one more, unless that is too much.
    pub(crate) fn with_text(&self, bytes: usize) -> Option<usize> {
        let all = self.text_bytes.saturating_add(bytes).saturating_add(ENTRY_BYTES);
        Some(all).filter(|all| *all <= MAX_TEXT_BYTES)
    }

    /// Adds texts; all of them take so many bytes then.
    pub(crate) fn add(&mut self, text_bytes: usize, add: impl FnOnce(&mut World)) {
        self.text_bytes = text_bytes;
        add(Arc::make_mut(&mut self.world));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_gets_what_it_is_given_and_never_more_than_its_maker_has() {
        let maker = Config { max_memory: 1_000, max_fuel: Some(7), may_spawn: true, ..Config::default() };
        let asked = Config {
            max_memory: 2_000,
            may_spawn: true,
            may_create_configs: true,
            may_compile_modules: true,
            world: Arc::new(World { args: vec!["x".into()], ..World::default() }),
            ..Config::default()
        };
        let got = asked.within(&maker);
        assert_eq!((got.max_memory, got.max_fuel, got.may_spawn), (1_000, Some(7), true));
        assert!(!got.may_create_configs && !got.may_compile_modules);
        assert_eq!(got.world.args, ["x"]);
        let less = Config { max_memory: 10, max_fuel: Some(3), ..Config::default() }.within(&maker);
        assert_eq!((less.max_memory, less.max_fuel, less.may_spawn), (10, Some(3), false));
    }

    #[test]
    fn fuel_is_cpu_time_and_the_least_is_enough_to_begin() {
        let fuel = |units| Config { max_fuel: Some(units), ..Config::default() }.cpu_time_us();
        assert_eq!((fuel(1), fuel(100), fuel(u64::MAX)), (Some(200), Some(5_000), Some(u64::MAX)));
        assert_eq!(Config::default().cpu_time_us(), None);
    }
}
