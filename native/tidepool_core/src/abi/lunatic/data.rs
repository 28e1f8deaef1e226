//! Data of Lunatic's interface in a guest's store.

use std::sync::Arc;

use super::handles::{Handles, HeapSize};
use super::networking::data::{CLOSED, Sockets};
use crate::abi::begun::{letter, message};
use crate::abi::guest::{Guest, Module};
use crate::base::fair_share::Numbers;
use crate::process::bounds::account::{Share, TABLE_BYTES};
use crate::process::config::{Config, World};
use crate::process::message::Message;
use crate::recording::outside::packed::{Handed, Kept};
use crate::recording::tape::Tape;
use crate::store::context::FurtherStack;

/// A configuration, with its texts, takes as long as so many texts that are dropped, and a module, whose code goes, does.
const CONFIG: usize = 10;
const MODULE: usize = 250;

/// The slot of Lunatic's interface. Guests of other ABIs move the store's data, too, so it is a pointer.
#[derive(Default)]
pub(in crate::abi) struct LunaticSlot(Option<Box<Data>>);

impl LunaticSlot {
    /// The guest's data, if it has any.
    pub(in crate::abi) fn get(&self) -> Option<&Data> {
        self.0.as_deref()
    }

    /// The guest's data.
    pub(in crate::abi) fn data(&mut self) -> &mut Data {
        self.0.get_or_insert_default()
    }

    pub(in crate::abi) fn give_stack_back(&mut self) {
        if let Some(data) = &mut self.0 {
            data.spare_stack = None;
        }
    }
}

/// What a guest has. All of it dies with the guest.
#[derive(Default)]
pub(in crate::abi) struct Data {
    /// The message that it writes, or has received.
    pub(in crate::abi::lunatic) scratch: Option<Message>,
    /// Most bytes of that.
    pub(in crate::abi::lunatic) max_message: Option<usize>,
    pub(in crate::abi::lunatic) configs: Handles<Config, 1_000>,
    pub(in crate::abi::lunatic) modules: Handles<Module, 100>,
    pub(in crate::abi::lunatic) timers: Handles<Timer>,
    /// With so many of them it is time to look which are past.
    pub(in crate::abi::lunatic) many_timers: usize,
    /// Nodes that a query found.
    pub(in crate::abi::lunatic) queries: Handles<Vec<u64>>,
    /// Texts of errors that the guest has not dropped.
    pub(in crate::abi::lunatic) errors: Handles<String, 10_000>,
    /// Sockets, and what names were resolved to.
    pub(in crate::abi::lunatic) sockets: Sockets,
    /// What the version before has left.
    inherited: Option<Message>,
    /// Calls that it is in whose traps it catches.
    catches: u32,
    /// That of the last such call: the engine keeps it for the instance, as it keeps one, and gives the one before back.
    pub(in crate::abi::lunatic) spare_stack: Option<FurtherStack>,
    /// What an import takes that goes on: a module that is compiled, a connection that is made.
    under_way: usize,
    /// What all of that takes, but for the scratch, as it was counted last.
    other_bytes: usize,
    /// The same with the scratch, of the program's account.
    share: Share,
    /// Knows what it was refused of that, and how often it has wanted some.
    tape: Option<Arc<Tape>>,
    wanted: u64,
}

impl Data {
    /// Makes the guest a process, to which the version before may have left something.
    pub(super) fn begin(&mut self, guest: &Guest, left: Option<Message>, tape: Option<&Arc<Tape>>) {
        self.tape = tape.cloned();
        self.max_message = Some(guest.program.mailbox_bytes);
        self.share = Share::new(&guest.program.account, TABLE_BYTES);
        self.inherited = left;
        self.recount();
    }

    /// What all of it takes on the host, but for the scratch.
    fn others(&self) -> usize {
        let Data {
            configs,
            modules,
            timers,
            queries,
            errors,
            sockets,
            inherited,
            under_way,
            scratch: _,
            max_message: _,
            other_bytes: _,
            catches: _,
            spare_stack: _,
            share: _,
            tape: _,
            wanted: _,
            many_timers: _,
        } = self;
        let inherited = inherited.as_ref().map_or(0, Message::bytes);
        let tables = configs.bytes() + modules.bytes() + timers.bytes() + queries.bytes() + errors.bytes();
        inherited + tables + sockets.bytes() + under_way
    }

    /// How many there are in all tables.
    fn handles(&self) -> usize {
        let (configs, modules) = (self.configs.len(), self.modules.len());
        configs + modules + self.timers.len() + self.queries.len() + self.errors.len() + self.sockets.handles()
    }

    /// How many things are dropped with it, each by itself.
    pub(in crate::abi) fn things(&self) -> usize {
        let messages = [&self.scratch, &self.inherited].into_iter().flatten();
        let resources: usize = messages.map(|message| message.resources() * CLOSED).sum();
        let (configs, modules) = (self.configs.len() * CONFIG, self.modules.len() * MODULE);
        resources + configs + modules + self.queries.len() + self.errors.len() + self.sockets.things()
    }

    /// As many texts as there may be, which are dropped with it.
    #[cfg(test)]
    pub(in crate::abi) fn fill(&mut self) {
        while self.errors.add("an error".into()).is_some() {}
    }

    /// What of it can be packed.
    ///
    /// # Errors
    /// What it has that can't.
    pub(in crate::abi) fn kept(&self) -> Result<Kept, &'static str> {
        let holds = [
            (self.sockets.is_empty(), "sockets or addresses"),
            (self.modules.is_empty(), "modules that it has compiled"),
            (self.configs.is_empty(), "configurations of processes that it has not dropped"),
            (self.queries.is_empty(), "queries of nodes that it has not dropped"),
            (self.inherited.is_none(), "what the version before has left it"),
            (
                self.timers.entries().all(|timer| !timer.later),
                "messages for a process of the host's that are due later",
            ),
        ];
        if let Some((_, what)) = holds.into_iter().find(|(has_none, _what)| !has_none) {
            return Err(what);
        }
        let position = match &self.scratch {
            Some(Message::Data(data)) => u64::try_from(data.position).unwrap_or(u64::MAX),
            _ => 0,
        };
        let scratch = self.scratch.as_ref().map(letter).transpose()?.map(|letter| (letter, position));
        let ((next, errors), (next_timer, timers)) = (self.errors.handed(), self.timers.handed());
        let errors = errors.map(|(handle, text)| (handle, text.clone())).collect();
        let timers = timers.map(|(handle, timer)| (handle, (timer.process, timer.number))).collect();
        Ok(Kept {
            scratch,
            errors: Handed { next, entries: errors },
            timers: Handed { next: next_timer, entries: timers },
        })
    }

    /// Has what was packed again; `false` when there can't have been that.
    pub(in crate::abi) fn restore(&mut self, kept: Kept) -> bool {
        let Kept { scratch, errors, timers } = kept;
        let timer = |(process, number)| Timer { process, number, later: false };
        let entries = timers.entries.into_iter().map(|(handle, it)| (handle, timer(it)));
        let (errors, timers) =
            (Handles::restored(errors.next, errors.entries), Handles::restored(timers.next, entries));
        let (Some(errors), Some(timers)) = (errors, timers) else { return false };
        (self.errors, self.timers) = (errors, timers);
        if let Some((letter, position)) = scratch {
            let mut message = message(letter);
            if let Some(Message::Data(data)) = &mut message {
                data.position = usize::try_from(position).unwrap_or(usize::MAX).min(data.bytes.len());
            }
            self.scratch = message;
        }
        self.recount();
        true
    }

    /// Begins a call whose traps the guest catches; `false` when it is in as many as may be.
    pub(in crate::abi::lunatic) fn begin_catch(&mut self, most: u32) -> bool {
        let begins = self.catches < most;
        self.catches += u32::from(begins);
        begins
    }

    /// Such a call is over.
    pub(in crate::abi::lunatic) fn end_catch(&mut self) {
        self.catches = self.catches.saturating_sub(1);
    }

    /// Makes that the scratch; `false` when there is none.
    pub(in crate::abi::lunatic) fn inherit(&mut self) -> bool {
        let Some(left) = self.inherited.take() else { return false };
        self.scratch = Some(left);
        self.recount();
        true
    }

    /// Counts a scratch of so many bytes; `false` when the program has no room for it.
    pub(in crate::abi::lunatic) fn hold_scratch(&mut self, bytes: usize) -> bool {
        self.hold(self.other_bytes.saturating_add(bytes))
    }

    /// Counts so many bytes beside what there is, until it is [counted again](Self::recount); `false` when the program has no room for
    /// them.
    pub(in crate::abi::lunatic) fn hold_more(&mut self, bytes: usize) -> bool {
        self.hold(self.all().saturating_add(bytes))
    }

    fn all(&self) -> usize {
        self.other_bytes.saturating_add(self.scratch.as_ref().map_or(0, Message::bytes))
    }

    fn hold(&mut self, bytes: usize) -> bool {
        let Some(tape) = &self.tape else { return self.share.hold(bytes) };
        let nth = self.wanted;
        self.wanted += 1;
        !tape.refuses_hold(nth, || !self.share.hold(bytes))
    }

    /// Counts the scratch that there is.
    pub(in crate::abi::lunatic) fn count(&mut self) {
        self.share.keep(self.all());
    }

    /// Counts all that there is.
    pub(in crate::abi::lunatic) fn recount(&mut self) {
        self.other_bytes = self.others();
        self.share.number(Numbers { handles: self.handles(), ..Numbers::default() });
        self.count();
    }

    /// Has an import go on that takes so many bytes, which are counted until that [is over](Self::over); `false` when the program has no
    /// room for them.
    pub(in crate::abi::lunatic) fn go_on(&mut self, bytes: usize) -> bool {
        let fits = self.hold_more(bytes);
        self.under_way = if fits { bytes } else { 0 };
        self.recount();
        fits
    }

    pub(in crate::abi::lunatic) fn over(&mut self) {
        self.under_way = 0;
        self.recount();
    }
}

impl HeapSize for Config {
    fn heap_bytes(&self) -> usize {
        size_of::<World>() + self.text_bytes()
    }
}

/// Its code is counted by itself, for others may have it as well.
impl HeapSize for Module {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl HeapSize for Vec<u64> {
    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<u64>()
    }
}

impl HeapSize for String {
    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

/// A message that comes later: whose it is, and its number there.
#[derive(Debug, Clone, Copy)]
pub(in crate::abi::lunatic) struct Timer {
    /// The process that gets it, or that sends it when it is `later`.
    pub(in crate::abi::lunatic) process: u64,
    pub(in crate::abi::lunatic) number: u64,
    /// Is it for a process of the host's?
    pub(in crate::abi::lunatic) later: bool,
}

/// What it brings is counted where it waits.
impl HeapSize for Timer {
    fn heap_bytes(&self) -> usize {
        0
    }
}
