//! What there is to be done in one function's body: where it may be left and entered, and what it has to keep.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use wasmparser::{FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, ValType, ValidatorResources};

use super::interface::Refused;
use super::known::Known;
use super::live::{Locals, Steps};
use super::reach::Reach;
use crate::rewrite::locals::MAX_LOCALS;

/// Most operands and targets of jumps that are written for a function: blocks in blocks and calls above many operands make them grow
/// by the square.
const MOST_WRITTEN: usize = 1 << 20;

/// Who is called at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callee {
    /// An import that waits: it is called again.
    Import,
    /// A function of the module's.
    Own(u32),
    /// One that a reference leads to.
    Referred,
}

/// A call that may wait, or a block with such calls in it.
pub(super) struct Item {
    /// How many operands lie below, which only blocks around it see.
    pub(super) base: usize,
    /// The operands above these, the last one on top.
    pub(super) stack: Vec<ValType>,
    /// How many of them it takes.
    pub(super) takes: usize,
    /// What it leaves in their place.
    pub(super) gives: Vec<ValType>,
    /// The calls in it, by their numbers.
    pub(super) sites: Range<u32>,
    pub(super) what: What,
}

pub(super) enum What {
    Call(Callee),
    Block { arms: Vec<Arm>, is_if: bool },
}

/// A sequence of instructions: a function's, a block's, or one of the two of an `if`.
#[derive(Default)]
pub(super) struct Arm {
    /// The sites of each item in it, in order.
    pub(super) items: Vec<Range<u32>>,
}

/// The plan for a function.
pub(super) struct Plan {
    pub(super) function: u32,
    pub(super) results: Vec<ValType>,
    /// The types of all its locals: parameters and its own, and those that are added.
    pub(super) locals: Vec<ValType>,
    /// How many of them it had.
    pub(super) had: usize,
    /// By where they stand.
    pub(super) items: HashMap<usize, Item>,
    pub(super) root: Arm,
    /// The local that holds the number of a site.
    pub(super) site: u32,
    /// One of 64 bits for this and that.
    pub(super) scratch: u32,
    /// Locals that stand for an operand, by how many lie below it.
    spills: HashMap<(usize, ValType), u32>,
    /// Those of them that are part of the frame.
    kept: BTreeSet<u32>,
    /// Those of the locals that it had which are part of the frame; `None` for all.
    needed: Option<Locals>,
}

/// Which operators can be come to. What follows a jump to the end of its block can't.
#[derive(Default)]
pub(super) struct Alive {
    /// Blocks that were entered since there was no way on.
    dead: Option<u32>,
}

impl Alive {
    /// Can this operator be come to, which is the next one?
    pub(super) fn reaches(&mut self, operator: &Operator<'_>) -> bool {
        let opens = matches!(operator, Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. });
        match (&mut self.dead, operator) {
            (None, operator) => {
                if leaves(operator) {
                    self.dead = Some(0);
                }
                return true;
            }
            (Some(depth), _) if opens => *depth += 1,
            (Some(0), Operator::End | Operator::Else) => {
                self.dead = None;
                return true;
            }
            (Some(depth), Operator::End) => *depth -= 1,
            _ => {}
        }
        false
    }
}

/// Is there no way on behind it?
fn leaves(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Unreachable
            | Operator::Return
            | Operator::Br { .. }
            | Operator::BrTable { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
    )
}

/// A block that is not yet at its end.
struct Open {
    at: usize,
    item: Option<Item>,
    first: u32,
    arms: Vec<Arm>,
}

impl Plan {
    /// Reads and validates the body of `function`, which may wait.
    ///
    /// # Errors
    /// A [`Refused`] that says what of it a frame could not hold.
    pub(super) fn of(
        function: u32,
        validate: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
        (known, reach): (&Known<'_>, &Reach),
        allocations: FuncValidatorAllocations,
    ) -> Result<(Self, FuncValidatorAllocations), Refused> {
        let mut validator = validate.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let ty = known.function(function);
        let mut plan = Plan {
            function,
            results: ty.map(|ty| ty.results().to_vec()).unwrap_or_default(),
            locals: (0..validator.len_locals()).filter_map(|index| validator.get_local_type(index)).collect(),
            had: 0,
            items: HashMap::new(),
            root: Arm::default(),
            site: 0,
            scratch: 0,
            spills: HashMap::new(),
            kept: BTreeSet::new(),
            needed: None,
        };
        plan.had = plan.locals.len();
        if plan.locals.iter().chain(&plan.results).any(ValType::is_reference_type) {
            return Err(Refused::Reference { function });
        }
        let (mut alive, mut steps, mut next) = (Alive::default(), Steps::default(), 0);
        let mut written = 0_usize;
        let mut open = vec![Open { at: 0, item: None, first: 0, arms: vec![Arm::default()] }];
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            if alive.reaches(&operator) {
                let sites = next;
                let height = usize::try_from(validator.operand_stack_height()).unwrap_or_default();
                let base = validator.get_control_frame(0).map_or(0, |frame| frame.height);
                if matches!(
                    operator,
                    Operator::Block { .. }
                        | Operator::Loop { .. }
                        | Operator::If { .. }
                        | Operator::Call { .. }
                        | Operator::CallIndirect { .. }
                ) {
                    written = written.saturating_add(height.saturating_sub(base));
                }
                let item = |takes: usize, gives: Vec<ValType>, sites: Range<u32>, what: What| {
                    let types = (0..height.saturating_sub(base)).rev();
                    let stack = types.filter_map(|depth| validator.get_operand_type(depth).flatten()).collect();
                    Item { base, stack, takes, gives, sites, what }
                };
                match operator {
                    Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                        let is_if = matches!(operator, Operator::If { .. });
                        let (params, results) = known.block(blockty);
                        let what = What::Block { arms: Vec::new(), is_if };
                        let item = item(params.len() + usize::from(is_if), results, next..next, what);
                        open.push(Open { at, item: Some(item), first: next, arms: vec![Arm::default()] });
                    }
                    Operator::Else => {
                        if let Some(open) = open.last_mut() {
                            open.arms.push(Arm::default());
                        }
                    }
                    Operator::End => {
                        let Some(Open { at, item, first, arms }) = open.pop() else { continue };
                        match item {
                            None => plan.root = arms.into_iter().next().unwrap_or_default(),
                            Some(item) if first < next => {
                                written = written.saturating_add(usize::try_from(next - first).unwrap_or(usize::MAX));
                                let is_if = matches!(item.what, What::Block { is_if: true, .. });
                                let what = What::Block { arms, is_if };
                                plan.add(at, Item { sites: first..next, what, ..item }, open.last_mut())?;
                            }
                            Some(_without_sites) => {}
                        }
                    }
                    Operator::Call { function_index } if reach.waits(function_index) => {
                        let own = function_index >= known.imported();
                        let callee = if own { Callee::Own(function_index) } else { Callee::Import };
                        let ty = known.function(function_index);
                        let (takes, gives) =
                            ty.map(|ty| (ty.params().len(), ty.results().to_vec())).unwrap_or_default();
                        let item = item(takes, gives, next..next + 1, What::Call(callee));
                        next += 1;
                        plan.add(at, item, open.last_mut())?;
                    }
                    Operator::CallIndirect { type_index, .. } if reach.type_waits(type_index) => {
                        let ty = known.ty(type_index);
                        let (takes, gives) =
                            ty.map(|ty| (ty.params().len(), ty.results().to_vec())).unwrap_or_default();
                        let item = item(takes + 1, gives, next..next + 1, What::Call(Callee::Referred));
                        next += 1;
                        plan.add(at, item, open.last_mut())?;
                    }
                    Operator::ReturnCall { function_index } if reach.waits(function_index) => {
                        return Err(Refused::TailCall { function });
                    }
                    Operator::ReturnCallIndirect { type_index, .. } if reach.type_waits(type_index) => {
                        return Err(Refused::TailCall { function });
                    }
                    _ => {}
                }
                steps.push(&operator, sites < next)?;
                if written > MOST_WRITTEN {
                    return Err(Refused::TooLong { function });
                }
            }
            validator.op(at, &operator)?;
        }
        operators.finish()?;
        plan.needed = steps.needed(plan.had);
        plan.locals.extend([ValType::I32, ValType::I64]);
        plan.scratch = plan.last_local()?;
        plan.site = plan.scratch - 1;
        Ok((plan, validator.into_allocations()))
    }

    /// Adds an item that stands at `at`, in the block `around` it.
    fn add(&mut self, at: usize, item: Item, around: Option<&mut Open>) -> Result<(), Refused> {
        if item.stack.iter().chain(&item.gives).any(ValType::is_reference_type) {
            return Err(Refused::Reference { function: self.function });
        }
        // One without its operands is invalid, as who validates it says next.
        let Some(below) = item.stack.len().checked_sub(item.takes) else { return Ok(()) };
        // An import is called again with what it was called with.
        let kept = if matches!(item.what, What::Call(Callee::Import)) { item.stack.len() } else { below };
        for (index, ty) in item.stack.iter().enumerate() {
            let local = self.spilled(item.base + index, *ty)?;
            if index < kept {
                self.kept.insert(local);
            }
        }
        for (index, ty) in item.gives.iter().enumerate() {
            self.spilled(item.base + below + index, *ty)?;
        }
        if let Some(arm) = around.and_then(|open| open.arms.last_mut()) {
            arm.items.push(item.sites.clone());
        }
        self.items.insert(at, item);
        Ok(())
    }

    /// The local that stands for an operand.
    fn spilled(&mut self, height: usize, ty: ValType) -> Result<u32, Refused> {
        if let Some(local) = self.spills.get(&(height, ty)) {
            return Ok(*local);
        }
        self.locals.push(ty);
        let local = self.last_local()?;
        self.spills.insert((height, ty), local);
        Ok(local)
    }

    fn last_local(&self) -> Result<u32, Refused> {
        let last = u32::try_from(self.locals.len().saturating_sub(1)).ok();
        last.filter(|last| *last < MAX_LOCALS).ok_or(Refused::TooLong { function: self.function })
    }

    /// The locals that stand for operands of these types, the first of which has so many below it.
    pub(super) fn spills(&self, height: usize, types: &[ValType]) -> Vec<u32> {
        let heights = (height..).zip(types);
        heights.filter_map(|(height, ty)| self.spills.get(&(height, *ty)).copied()).collect()
    }

    /// The locals that are the frame, with their types.
    pub(super) fn frame(&self) -> impl DoubleEndedIterator<Item = (u32, ValType)> {
        let own = (0_u32..).zip(self.locals.iter().take(self.had).copied());
        let own = own.filter(|(local, _ty)| self.needed.as_ref().is_none_or(|needed| needed.contains(*local)));
        let kept = self
            .kept
            .iter()
            .filter_map(|local| Some((*local, self.locals.get(usize::try_from(*local).ok()?).copied()?)));
        own.collect::<Vec<_>>().into_iter().chain(kept)
    }
}
