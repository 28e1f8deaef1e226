//! The standard streams of a program that is called: its payload, its reply, and what it says of its failure.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime_wasi::WasiCtxBuilder;

use super::context::{builder, set_clocks};
use super::data::Streams;
use super::input::Input;
use super::output::Output;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::request::Reply;
use crate::store::failure::{call_error, ended};

/// Lines of stderr that become the error text of a program that fails.
const ERROR_LINES: usize = 10;

impl Streams {
    /// Those of the call that the store has, and the context of the imports that use them: the operation is the program's name, the
    /// payload its stdin. `None` when the store has no call.
    pub(in crate::abi) fn of_call(state: &mut State) -> Option<(Self, WasiCtxBuilder)> {
        let (tail, reel) = (Arc::default(), state.reel());
        let call = state.call.as_ref()?;
        call.channel.set_tail(&tail);
        let streams =
            Streams { stdout: Output::reply(&state.function, &tail), stderr: Output::tail(&state.function, &tail) };
        let mut builder = builder();
        builder
            .arg(String::from_utf8_lossy(&call.request.operation))
            .stdin(Input::new(call.request.payload.bytes().clone()))
            .stdout(streams.stdout.clone())
            .stderr(streams.stderr.clone());
        set_clocks(&mut builder, (state.abi.clock, reel.as_ref()));
        state.tail = Some(tail);
        Some((streams, builder))
    }

    /// The outcome of the call, by what the program returned: an error of its own is one without a number.
    ///
    /// # Errors
    /// [`CallError::Guest`] when it exited with another code than 0, [`CallError::Limit`] when it wrote more than a reply may have,
    /// anything else when it was stopped.
    pub(in crate::abi) fn outcome(
        &self,
        store: &mut Store<State>,
        returned: wasmtime::Result<Result<(), ()>>,
    ) -> Result<Reply, CallError> {
        let returned = match (returned, self.stdout.refused()) {
            (Err(error), Some(limit)) => {
                let function = &store.data().function;
                let allowed = if limit == Limit::Reply { function.limits.reply_bytes } else { function.host_limit() };
                store.data_mut().failure = Some(CallError::limit(limit, allowed));
                return Err(self.stopped(store, &error));
            }
            (returned, _) => returned,
        };
        match ended(returned) {
            Ok(0) => Ok(self.stdout.take().into()),
            Ok(code) => Err(CallError::Guest { message: self.error_text(code), exit_code: Some(code) }),
            Err(error) => Err(self.stopped(store, &error)),
        }
    }

    /// Why the program was stopped, with its last lines: a line that it has not ended is one of them.
    fn stopped(&self, store: &mut Store<State>, error: &wasmtime::Error) -> CallError {
        drop(self.stderr.take());
        call_error(store, error)
    }

    fn error_text(&self, code: i32) -> String {
        let stderr = self.stderr.take();
        let text = String::from_utf8_lossy(&stderr);
        let lines: Vec<&str> = text.lines().collect();
        match lines.get(lines.len().saturating_sub(ERROR_LINES)..) {
            Some(last) if !last.is_empty() => last.join("\n"),
            _ => format!("the program exited with code {code} and wrote nothing to stderr"),
        }
    }
}
