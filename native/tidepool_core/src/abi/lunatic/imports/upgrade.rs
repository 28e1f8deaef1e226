//! Of `tidepool`: how a program's first process becomes the newest version of itself, which no one makes it.

use wasmtime::{Caller, Linker};

use super::message::take_data;
use crate::abi::lunatic::OWN;
use crate::abi::lunatic::support::{FAILED, ask, failed, guest};
use crate::abi::lunatic::taped::{Question, keep, question};
use crate::abi::slots::State;
use crate::base::request::ProcessRequest;
use crate::process::message::Message;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(OWN, "accept_upgrades", |mut caller: Caller<'_, State>, tag: i64| {
        guest(&mut caller)?.program.upgrade.accept(tag);
        Ok(())
    })?;
    linker.func_wrap_async(OWN, "upgrade", |caller, (error,): (i32,)| Box::new(upgrade(caller, error)))?;
    linker.func_wrap(OWN, "inherit", inherit)?;
    Ok(())
}

/// Leaves the scratch to the newest version, which runs from now on in this process. It returns when it can't: with an error, and
/// the scratch as it was.
async fn upgrade(mut caller: Caller<'_, State>, error: i32) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    if !guest.process.is_first() {
        return failed(&mut caller, error, "only the first process of a program is upgraded");
    }
    let left = take_data(&mut caller)?;
    guest.program.upgrade.leave(left);
    let refusal: Result<u64, _> = match question(&mut caller, "tidepool.upgrade", &[])? {
        Question::Told(refusal) => refusal,
        Question::Open(asked) => {
            let refusal = ask(&mut caller, ProcessRequest::Upgrade).await.map(|_| 0);
            let refusal = refusal.map_err(|text| (FAILED, String::from_utf8_lossy(&text).into_owned()));
            keep(&mut caller, asked, Ok(refusal))?
        }
    };
    let data = caller.data_mut().abi.lunatic.data();
    data.scratch = guest.program.upgrade.take().map(Message::Data);
    data.count();
    match refusal {
        Err((_code, text)) => failed(&mut caller, error, text),
        Ok(_) => failed(&mut caller, error, "the program goes on as it is"),
    }
}

/// Makes what the version before has left the scratch; 0 when it has left nothing, or that was taken.
fn inherit(mut caller: Caller<'_, State>) -> wasmtime::Result<i32> {
    guest(&mut caller)?;
    Ok(i32::from(caller.data_mut().abi.lunatic.data().inherit()))
}
