//! Which locals a function still needs when it comes back from a call that may wait: the others are not part of its frame.

use wasmparser::Operator;

/// What instructions do with locals, and where they lead.
enum Step {
    Get(u32),
    /// With `local.tee`.
    Set(u32),
    Block,
    Loop,
    If,
    Else,
    End,
    Branch(u32),
    BranchIf(u32),
    BranchTable(Vec<u32>),
    /// Out of the function.
    Leave,
    Site,
}

/// The steps of a function's instructions that can be come to.
#[derive(Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    blocks: usize,
}

/// A set of locals.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Locals(Vec<u64>);

/// Words that are copied at most, for all blocks of a function together, each time that it is gone through. In one with more, all
/// locals are needed.
const MOST_WORDS: usize = 1 << 22;
/// Times that a function is gone through at most: one more than loops are nested in it, in compiled code.
const MOST_ROUNDS: usize = 64;

/// A block that is gone through, from its end.
struct Open {
    is_loop: bool,
    /// What is needed behind it.
    after: Locals,
    /// At the start of its second arm, when it has one.
    otherwise: Option<Locals>,
    /// The number of its end, among blocks.
    number: usize,
}

impl Steps {
    /// Notes an instruction, and whether it is a call that may wait.
    pub(super) fn push(&mut self, operator: &Operator<'_>, is_site: bool) -> wasmparser::Result<()> {
        let step = match operator {
            _ if is_site => Step::Site,
            Operator::LocalGet { local_index } => Step::Get(*local_index),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => Step::Set(*local_index),
            Operator::Block { .. } => Step::Block,
            Operator::Loop { .. } => Step::Loop,
            Operator::If { .. } => Step::If,
            Operator::Else => Step::Else,
            Operator::End => {
                self.blocks += 1;
                Step::End
            }
            Operator::Br { relative_depth } => Step::Branch(*relative_depth),
            Operator::BrIf { relative_depth } => Step::BranchIf(*relative_depth),
            Operator::BrTable { targets } => {
                let targets = targets.targets().chain([Ok(targets.default())]);
                Step::BranchTable(targets.collect::<wasmparser::Result<_>>()?)
            }
            Operator::Return
            | Operator::Unreachable
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => Step::Leave,
            _ => return Ok(()),
        };
        self.steps.push(step);
        Ok(())
    }

    /// Which of so many locals are needed behind any of the sites; `None` when that would take too long to say.
    pub(super) fn needed(&self, locals: usize) -> Option<Locals> {
        let words = locals.div_ceil(64);
        if self.blocks.saturating_mul(words) > MOST_WORDS {
            return None;
        }
        let none = Locals(vec![0; words]);
        // By the ends of loops: what is needed at their heads, as far as that is known.
        let mut heads = vec![none.clone(); self.blocks];
        for _round in 0..MOST_ROUNDS {
            let (mut needed, mut grows) = (none.clone(), false);
            self.round(&none, &mut heads, &mut needed, &mut grows);
            if !grows {
                return Some(needed);
            }
        }
        None
    }

    /// Goes through the function once, from its end.
    fn round(&self, none: &Locals, heads: &mut [Locals], needed: &mut Locals, grows: &mut bool) {
        let (kinds, mut number) = (self.kinds(), 0);
        let mut here = none.clone();
        let mut open: Vec<Open> = Vec::new();
        for step in self.steps.iter().rev() {
            match step {
                Step::Get(local) => here.insert(*local),
                Step::Set(local) => here.remove(*local),
                Step::End => {
                    let is_loop = kinds.get(number).copied().unwrap_or_default();
                    open.push(Open { is_loop, after: here.clone(), otherwise: None, number });
                    number += 1;
                }
                Step::Else => {
                    if let Some(block) = open.last_mut() {
                        block.otherwise = Some(std::mem::replace(&mut here, block.after.clone()));
                    }
                }
                Step::Block => drop(open.pop()),
                Step::If => {
                    if let Some(block) = open.pop() {
                        here.unite(block.otherwise.as_ref().unwrap_or(&block.after));
                    }
                }
                Step::Loop => {
                    let head = open.pop().and_then(|block| heads.get_mut(block.number));
                    if let Some(head) = head.filter(|head| **head != here) {
                        head.clone_from(&here);
                        *grows = true;
                    }
                }
                Step::Branch(depth) => {
                    here.clone_from(none);
                    here.unite(target(&open, heads, none, *depth));
                }
                Step::BranchIf(depth) => here.unite(target(&open, heads, none, *depth)),
                Step::BranchTable(depths) => {
                    here.clone_from(none);
                    depths.iter().for_each(|depth| here.unite(target(&open, heads, none, *depth)));
                }
                Step::Leave => here.clone_from(none),
                Step::Site => needed.unite(&here),
            }
        }
    }

    /// Of each block, in the order of their ends from the last: is it a loop?
    fn kinds(&self) -> Vec<bool> {
        let (mut kinds, mut open) = (Vec::with_capacity(self.blocks), Vec::new());
        for step in self.steps.iter().rev() {
            match step {
                Step::End => {
                    open.push(kinds.len());
                    kinds.push(false);
                }
                Step::Block | Step::Loop | Step::If => {
                    let kind = open.pop().and_then(|number: usize| kinds.get_mut(number));
                    if let Some(kind) = kind {
                        *kind = matches!(step, Step::Loop);
                    }
                }
                _ => {}
            }
        }
        kinds
    }
}

/// What is needed where a branch leads that goes so many blocks out.
fn target<'a>(open: &'a [Open], heads: &'a [Locals], none: &'a Locals, depth: u32) -> &'a Locals {
    let block = usize::try_from(depth).ok().and_then(|depth| open.iter().rev().nth(depth));
    match block {
        Some(block) if block.is_loop => heads.get(block.number).unwrap_or(none),
        Some(block) => &block.after,
        None => none,
    }
}

impl Locals {
    fn bit(local: u32) -> (usize, u64) {
        (usize::try_from(local / 64).unwrap_or(usize::MAX), 1 << (local % 64))
    }

    fn insert(&mut self, local: u32) {
        let (word, bit) = Self::bit(local);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn remove(&mut self, local: u32) {
        let (word, bit) = Self::bit(local);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    fn unite(&mut self, other: &Locals) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn contains(&self, local: u32) -> bool {
        let (word, bit) = Self::bit(local);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}
