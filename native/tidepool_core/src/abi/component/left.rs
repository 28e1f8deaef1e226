//! What an actor's component has when a call is over that no image of it holds: handles of resources.

use std::any::Any;

use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

use super::data::ComponentSlot;
use super::keyvalue::{Bucket, Cas};

/// An interface, and whether something is a resource of it.
type Named = (&'static str, fn(&dyn Any) -> bool);

/// Interfaces by the types of their resources: the first counts.
const INTERFACES: [Named; 5] = [
    ("wasi:io/poll", |it| it.is::<DynPollable>()),
    ("wasi:io/streams", |it| it.is::<DynInputStream>() || it.is::<DynOutputStream>()),
    ("wasi:keyvalue/store", |it| it.is::<Bucket>()),
    ("wasi:keyvalue/atomics", |it| it.is::<Cas>()),
    ("another interface of `wasi:`", |_it| true),
];
/// Which of these has the standard streams.
const STREAMS: usize = 1;

impl ComponentSlot {
    /// Notes which handles each instance has from its beginning: those of the standard streams that its accessor got.
    pub(in crate::abi) fn note_standing(&mut self) {
        self.standing = self.context.as_mut().map_or(0, |context| context.table.iter_mut().count());
    }

    /// The interfaces of the handles that it has beside those; `None` when it has no others.
    pub(in crate::abi) fn left(&mut self) -> Option<String> {
        let mut counts = [0_usize; INTERFACES.len()];
        if let Some(context) = &mut self.context {
            context.http.content.settle(&mut context.table);
            for entry in context.table.iter_mut() {
                let place = INTERFACES.iter().position(|(_name, is_it)| is_it(&*entry));
                if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                    *count += 1;
                }
            }
        }
        if let Some(streams) = counts.get_mut(STREAMS) {
            *streams = streams.saturating_sub(self.standing);
        }
        let of_wasi = INTERFACES.iter().zip(counts).filter(|(_interface, count)| *count > 0);
        let mut names: Vec<&str> = of_wasi.map(|((name, _is_it), _count)| *name).collect();
        if self.hosted.as_ref().is_some_and(|hosted| hosted.len() > 0) {
            names.push("interfaces that the host's handlers answer");
        }
        (!names.is_empty()).then(|| names.join(", "))
    }
}
