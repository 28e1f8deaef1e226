//! An instance that its owner keeps between calls and lends to one call at a time.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::base::error::CallError;
use crate::image::reader::Image;
use crate::instance::admission::Permit;
use crate::instance::live::Instance;
use crate::instance::owners::{Owned, Rest};
use crate::instance::seen::Imaged;
use crate::store::host_share::HostShare;

const NOTHING: u8 = 0;
const CALL: u8 = 1;
const ASKED: u8 = 2;

/// An instance, wherever it is.
pub(crate) struct Held {
    place: Mutex<Place>,
    /// What its image takes on the host, until the instance has a place and is memory by itself.
    image_share: Mutex<Option<HostShare>>,
    /// What it has seen since it was looked at last: nothing, a call (that which made it apart), or that it was asked for.
    seen: AtomicU8,
    /// Told when others want its place.
    wanted: OnceLock<Box<Wanted>>,
}

/// Tells the owner of an instance that others want its place.
pub(crate) type Wanted = dyn Fn() + Send + Sync;

/// An instance, and the permit of its function's cap.
type Found = (Instance, Option<Permit>);

enum Place {
    /// It has not been made yet. It is to begin with this image, or with its start functions.
    Unmade(Option<Arc<Image>>),
    Idle(Found),
    /// A call has it.
    Lent,
    /// A call was stopped: it is gone.
    Spent,
}

impl Held {
    /// An instance that is made in its first call, with this image if there is one, which has its share of the host.
    pub(crate) fn new(image: Option<(Image, HostShare)>) -> Self {
        let (image, share) = image.unzip();
        let place = Mutex::new(Place::Unmade(image.map(Arc::new)));
        Held { place, image_share: Mutex::new(share), seen: AtomicU8::new(NOTHING), wanted: OnceLock::new() }
    }

    /// It has a place, and is about to be made.
    pub(super) fn note_admitted(&self) {
        let share = self.image_share.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(share);
    }

    /// Has it yet to be made, of an image?
    pub(crate) fn has_image(&self) -> bool {
        matches!(*self.place(), Place::Unmade(Some(_)))
    }

    /// Has its owner told when others want its place.
    pub(crate) fn set_wanted(&self, wanted: Box<Wanted>) {
        self.wanted.get_or_init(|| wanted);
    }

    /// Its image, if its memory has `max_bytes` at most; meanwhile calls find it busy.
    ///
    /// # Errors
    /// As for a call; [`CallError::Image`] when it has none, and [`CallError::Limit`] when there is no room for it.
    pub(crate) fn image(&self, max_bytes: usize) -> Result<Imaged, CallError> {
        let mut loan = self.lend()?;
        // Nothing has happened to one that was not made.
        let Some((mut instance, place)) = loan.take() else { return Ok(Imaged::Unchanged) };
        let image = instance.image(max_bytes);
        loan.give_back(instance, place);
        image
    }

    /// Its image, whatever the last one held; `None` when it is to begin without one.
    ///
    /// # Errors
    /// As of [`Held::image`].
    pub(crate) fn copy(&self) -> Result<Option<Bytes>, CallError> {
        let mut loan = self.lend()?;
        let Some((mut instance, place)) = loan.take() else {
            return Ok(loan.image().map(Image::shared));
        };
        let image = instance.copy();
        loan.give_back(instance, place);
        Ok(match image? {
            Imaged::New(image) => Some(image),
            Imaged::Next(_) | Imaged::Unchanged | Imaged::Large => None,
        })
    }

    /// What `look` finds, or does, in the instance while it rests; meanwhile calls find it busy.
    ///
    /// # Errors
    /// As for a call; and what `look` says.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Instance) -> Result<T, CallError>) -> Result<T, CallError> {
        let mut loan = self.lend()?;
        let Some((mut instance, place)) = loan.take() else {
            return Err(CallError::Internal { message: "the instance has not been made".into() });
        };
        let found = look(&mut instance);
        loan.give_back(instance, place);
        found
    }

    /// Lends the instance to a call.
    ///
    /// # Errors
    /// [`CallError::InstanceBusy`] when another call has it, [`CallError::InstanceSpent`] when it is spent.
    pub(super) fn lend(&self) -> Result<Loan<'_>, CallError> {
        let mut place = self.place();
        match std::mem::replace(&mut *place, Place::Lent) {
            Place::Unmade(image) => {
                Ok(Loan { held: self, found: None, image: image.clone(), end: Place::Unmade(image) })
            }
            Place::Idle(found) => Ok(Loan { held: self, found: Some(found), image: None, end: Place::Spent }),
            Place::Lent => Err(CallError::InstanceBusy),
            Place::Spent => {
                *place = Place::Spent;
                Err(CallError::InstanceSpent)
            }
        }
    }

    /// Notes that it was called again.
    pub(super) fn note_called(&self) {
        self.seen.store(CALL, Ordering::Relaxed);
    }

    pub(crate) fn is_spent(&self) -> bool {
        matches!(*self.place(), Place::Spent)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // Nothing that can panic runs under the lock.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owned for Held {
    fn rest(&self) -> Rest {
        let Ok(place) = self.place.try_lock() else { return Rest::None };
        if !matches!(*place, Place::Idle(_)) || self.wanted.get().is_none() {
            return Rest::None;
        }
        match self.seen.load(Ordering::Relaxed) {
            // Its owner knows.
            ASKED => Rest::None,
            CALL => {
                self.seen.store(NOTHING, Ordering::Relaxed);
                Rest::Short
            }
            _nothing => Rest::Long,
        }
    }

    fn ask(&self) {
        self.seen.store(ASKED, Ordering::Relaxed);
        if let Some(wanted) = self.wanted.get() {
            wanted();
        }
    }
}

/// The instance while a call has it. However the call ends, its owner gets back what is left.
pub(super) struct Loan<'a> {
    held: &'a Held,
    found: Option<Found>,
    image: Option<Arc<Image>>,
    end: Place,
}

impl Loan<'_> {
    /// The instance, if it was made before.
    pub(super) fn take(&mut self) -> Option<Found> {
        self.found.take()
    }

    /// What it is to begin with when it has not been made.
    pub(super) fn image(&self) -> Option<&Image> {
        self.image.as_deref()
    }

    /// It serves from now on: if the call is stopped, nothing is given back.
    pub(super) fn spend(&mut self) {
        self.end = Place::Spent;
        self.image = None;
    }

    pub(super) fn give_back(&mut self, instance: Instance, place: Option<Permit>) {
        self.end = Place::Idle((instance, place));
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.held.place() = std::mem::replace(&mut self.end, Place::Spent);
    }
}
