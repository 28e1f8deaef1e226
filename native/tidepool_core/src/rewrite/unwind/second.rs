//! A function's second body, which only a rewind enters: it loads the function's frame, skips to the call that it was left at, and goes on
//! from there as its own body does.
//!
//! Where a sequence of instructions has calls that may wait, or blocks with such calls in them, it begins with a jump to the one of these
//! that the site is in. No operands can be on the stack where a jump leads to, so those that are there are in locals meanwhile.

use wasm_encoder::{BlockType, Encode, InstructionSink, ValType};
use wasmparser::{FunctionBody, Operator};

use super::first::{get, leave, set};
use super::frames::{Added, NOWHERE, encoded, encoded_all};
use super::interface::Refused;
use super::plan::{Alive, Arm, Callee, Item, Plan, What};

/// The label of the block whose end saves the frame.
const LEAVE: u32 = 1;

struct Writer<'a> {
    plan: &'a Plan,
    added: &'a mut Added,
    code: Vec<u8>,
    /// Blocks that are open here.
    depth: u32,
    /// How many were open, with it, where each block of the function's own began.
    labels: Vec<u32>,
    /// The items that these are.
    open: Vec<Option<&'a Item>>,
}

/// Writes the body. `shifts` gets where in it each instruction stands, and where in the module it stood.
///
/// # Errors
/// When it can't be read.
pub(super) fn write(
    wasm: &[u8],
    body: &FunctionBody<'_>,
    plan: &Plan,
    added: &mut Added,
    shifts: &mut Vec<(usize, usize)>,
) -> Result<Vec<u8>, Refused> {
    let mut code = Vec::with_capacity(body.range().len() * 2);
    super::known::length(plan.locals.len()).encode(&mut code);
    for ty in &plan.locals {
        1_u32.encode(&mut code);
        encoded(*ty).encode(&mut code);
    }
    let results = added.block(&encoded_all(&plan.results));
    let mut sink = InstructionSink::new(&mut code);
    added.load(plan, &mut sink);
    sink.block(BlockType::Result(ValType::I32)).block(results);
    let mut writer = Writer { plan, added, code, depth: 2, labels: vec![2], open: vec![None] };
    writer.jump(&plan.root);
    let mut alive = Alive::default();
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        if alive.reaches(&operator) {
            let raw = wasm.get(at..operators.original_position()).unwrap_or_default();
            writer.operator(&operator, raw, at, shifts)?;
        }
    }
    let Writer { mut code, .. } = writer;
    let mut sink = InstructionSink::new(&mut code);
    sink.return_().end();
    added.save(plan, &mut sink);
    sink.end();
    Ok(code)
}

impl<'a> Writer<'a> {
    fn sink(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    fn operator(
        &mut self,
        operator: &Operator<'_>,
        raw: &[u8],
        at: usize,
        shifts: &mut Vec<(usize, usize)>,
    ) -> Result<(), Refused> {
        let plan = self.plan;
        let item = plan.items.get(&at);
        if let Some(item) = item {
            self.come_to(item);
        }
        shifts.push((self.code.len(), at));
        match (operator, item) {
            (Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. }, item) => {
                if let Some(item) = item {
                    self.operands(item);
                    shifts.push((self.code.len(), at));
                }
                self.code.extend_from_slice(raw);
                self.depth += 1;
                self.labels.push(self.depth);
                self.open.push(item);
                self.begin(item, 0);
            }
            (Operator::Else, _) => {
                self.code.extend_from_slice(raw);
                let item = self.open.last().copied().flatten();
                self.begin(item, 1);
            }
            (Operator::End, _) => {
                self.code.extend_from_slice(raw);
                self.depth = self.depth.saturating_sub(1);
                self.labels.pop();
                if let Some(item) = self.open.pop().flatten() {
                    self.pass(item);
                }
            }
            (Operator::Br { relative_depth }, _) => {
                let depth = self.label(*relative_depth);
                self.sink().br(depth);
            }
            (Operator::BrIf { relative_depth }, _) => {
                let depth = self.label(*relative_depth);
                self.sink().br_if(depth);
            }
            (Operator::BrTable { targets }, _) => {
                let labels: Vec<u32> =
                    targets.targets().map(|target| Ok(self.label(target?))).collect::<wasmparser::Result<_>>()?;
                let default = self.label(targets.default());
                self.sink().br_table(labels, default);
            }
            (_, Some(item)) => {
                self.call(item, raw, at, shifts);
                self.pass(item);
            }
            (_, None) => self.code.extend_from_slice(raw),
        }
        Ok(())
    }

    /// How far out the label is here that is so far out in the function's own body.
    fn label(&self, relative: u32) -> u32 {
        let from_last = usize::try_from(relative).unwrap_or(usize::MAX);
        let label = self.labels.iter().rev().nth(from_last).copied().unwrap_or_default();
        self.depth.saturating_sub(label)
    }

    /// Begins an arm of a block: with the jump, if it has items.
    fn begin(&mut self, item: Option<&Item>, arm: usize) {
        let Some(item) = item else { return };
        let What::Block { arms, is_if } = &item.what else { return };
        let Some(arm) = arms.get(arm).filter(|arm| !arm.items.is_empty()) else { return };
        let below = item.stack.len() - item.takes;
        let params = item.stack.get(below..item.stack.len() - usize::from(*is_if)).unwrap_or_default();
        let params = self.plan.spills(item.base + below, params);
        set(&params, &mut self.sink());
        self.jump(arm);
        get(&params, &mut self.sink());
    }

    /// The jump to the item of an arm that the site is in. The end of a block stands before each item.
    fn jump(&mut self, arm: &Arm) {
        let Some(first) = arm.items.first() else { return };
        let (mut labels, items) = (Vec::new(), super::known::length(arm.items.len()));
        for (label, sites) in (1..).zip(&arm.items) {
            labels.extend(sites.clone().map(|_site| label));
        }
        let (site, first) = (self.plan.site, first.start);
        let mut sink = self.sink();
        for _ in 0..=items {
            sink.block(BlockType::Empty);
        }
        sink.local_get(site).i32_const(first.cast_signed()).i32_sub().br_table(labels, 0).end();
        self.depth += items;
    }

    /// Puts all operands into locals, and ends the block that jumps to this item leave.
    fn come_to(&mut self, item: &Item) {
        let spills = self.plan.spills(item.base, &item.stack);
        let mut sink = self.sink();
        set(&spills, &mut sink);
        sink.end();
        self.depth = self.depth.saturating_sub(1);
    }

    /// Puts on the stack what a block takes. In a rewind, the condition of an `if` is whether the site is in its first arm.
    fn operands(&mut self, item: &Item) {
        let below = item.stack.len() - item.takes;
        let mut taken = self.plan.spills(item.base + below, item.stack.get(below..).unwrap_or_default());
        let condition = if item.what.is_if() { taken.pop() } else { None };
        let site = self.plan.site;
        let mut sink = self.sink();
        get(&taken, &mut sink);
        if let (What::Block { arms, .. }, Some(condition)) = (&item.what, condition) {
            let end = arms.first().and_then(|arm| arm.items.last()).map_or(item.sites.start, |sites| sites.end);
            sink.local_get(site).i32_const(end.cast_signed()).i32_lt_u().local_get(condition);
            sink.local_get(site).i32_const(NOWHERE).i32_ne().select();
        }
    }

    /// The call itself; in a rewind, the entry of the next frame. An import is called again.
    fn call(&mut self, item: &Item, raw: &[u8], at: usize, shifts: &mut Vec<(usize, usize)>) {
        let What::Call(callee) = item.what else { return };
        let below = item.stack.len() - item.takes;
        let taken = self.plan.spills(item.base + below, item.stack.get(below..).unwrap_or_default());
        let (site, gives) = (self.plan.site, encoded_all(&item.gives));
        if callee == Callee::Import {
            self.sink().i32_const(NOWHERE).local_set(site);
        } else {
            let block = self.added.block(&gives);
            self.sink().local_get(site).i32_const(NOWHERE).i32_eq().if_(block);
        }
        get(&taken, &mut self.sink());
        shifts.push((self.code.len(), at));
        self.code.extend_from_slice(raw);
        if callee != Callee::Import {
            self.sink().else_().i32_const(NOWHERE).local_set(site);
            // Who looks at the stack then finds it at that call.
            match callee {
                Callee::Own(function) => {
                    shifts.push((self.code.len(), at));
                    InstructionSink::new(&mut self.code).call(self.added.second(function)).end();
                }
                _ => {
                    InstructionSink::new(&mut self.code).call(self.added.peek());
                    shifts.push((self.code.len(), at));
                    self.added.call_slot(&gives, &mut InstructionSink::new(&mut self.code)).end();
                }
            }
        }
        leave(item, self.depth - LEAVE, self.added, &mut InstructionSink::new(&mut self.code));
    }

    /// Puts the operands back that lay below what the item took.
    fn pass(&mut self, item: &Item) {
        let below = item.stack.len() - item.takes;
        if below == 0 {
            return;
        }
        let operands = self.plan.spills(item.base, item.stack.get(..below).unwrap_or_default());
        let given = self.plan.spills(item.base + below, &item.gives);
        let mut sink = self.sink();
        set(&given, &mut sink);
        get(&operands, &mut sink);
        get(&given, &mut sink);
    }
}

impl What {
    fn is_if(&self) -> bool {
        matches!(self, What::Block { is_if: true, .. })
    }
}
