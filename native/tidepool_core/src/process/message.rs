//! Messages between processes.

use std::any::Any;

/// What a message carries beside its bytes: a socket, a module. Those are moved from process to process.
pub(crate) type Resource = Box<dyn Any + Send + Sync>;

/// What a message takes beside its bytes, when a mailbox's bytes are counted: its place, of which there may be twice as many, and what the
/// allocator adds.
const OVERHEAD_BYTES: usize = 160;
/// What its tag takes in a mailbox of many, where it is the only one with that.
const TAG_BYTES: usize = 160;
/// What the place of one of its resources takes, beside what its handle would count.
const RESOURCE_BYTES: usize = 64;
/// Most resources of a message.
const MAX_RESOURCES: usize = 1_024;
/// A larger capacity is asked for by nobody who knows what is coming.
const MAX_CAPACITY: usize = 64 << 10;

/// A message that a process has written, or is to read.
#[derive(Default)]
pub(crate) struct Data {
    /// 0 is no tag.
    pub(crate) tag: i64,
    pub(crate) bytes: Vec<u8>,
    /// Where reading goes on.
    pub(crate) position: usize,
    /// With what each takes. Those that were taken leave their place empty.
    resources: Vec<Option<(Resource, usize)>>,
    /// What all of them take.
    resource_bytes: usize,
}

impl Data {
    /// An empty message with room for `capacity` bytes.
    pub(crate) fn new(tag: i64, capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(MAX_CAPACITY).min(MAX_CAPACITY);
        Data { tag, bytes: Vec::with_capacity(capacity), ..Data::default() }
    }

    /// A message of bytes.
    pub(crate) fn of(tag: i64, bytes: Vec<u8>) -> Self {
        Data { tag, bytes, ..Data::default() }
    }

    /// The bytes from the read position on.
    pub(crate) fn unread(&self) -> &[u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Adds a resource, which takes so many bytes; the index under which its receiver finds it. `None` when there are too many.
    pub(crate) fn push(&mut self, resource: Resource, bytes: usize) -> Option<u64> {
        if self.resources.len() >= MAX_RESOURCES {
            return None;
        }
        self.resources.push(Some((resource, bytes)));
        self.resource_bytes = self.resource_bytes.saturating_add(bytes);
        u64::try_from(self.resources.len() - 1).ok()
    }

    /// Takes the resource at `index`, if there is one of this type.
    pub(crate) fn take<T: Any>(&mut self, index: u64) -> Option<T> {
        let place = usize::try_from(index).ok().and_then(|index| self.resources.get_mut(index))?;
        if !place.as_ref().is_some_and(|(resource, _bytes)| resource.is::<T>()) {
            return None;
        }
        let (resource, bytes) = place.take()?;
        self.resource_bytes = self.resource_bytes.saturating_sub(bytes);
        resource.downcast().ok().map(|resource| *resource)
    }

    /// A message as it was when it was recorded, with room for so many bytes.
    pub(crate) fn restored(tag: i64, bytes: &[u8], capacity: usize) -> Self {
        let mut room = Vec::with_capacity(capacity.max(bytes.len()));
        room.extend_from_slice(bytes);
        Data::of(tag, room)
    }

    /// The places of its resources of this type; `None` when it has others.
    pub(crate) fn places<T: Any>(&self) -> Option<Vec<u64>> {
        let taken = self.resources.iter().enumerate().filter_map(|(place, resource)| Some((place, resource.as_ref()?)));
        taken
            .map(|(place, (resource, _bytes))| if resource.is::<T>() { u64::try_from(place).ok() } else { None })
            .collect()
    }

    /// Puts a resource that takes nothing where its receiver finds it by this index, unless that is more than there may be.
    pub(crate) fn put(&mut self, index: u64, resource: Resource) {
        if let Some(index) = usize::try_from(index).ok().filter(|index| *index < MAX_RESOURCES) {
            if self.resources.len() <= index {
                self.resources.resize_with(index + 1, || None);
            }
            if let Some(place) = self.resources.get_mut(index) {
                *place = Some((resource, 0));
            }
        }
    }

    /// What it takes: all that was allocated for it, as a guest may ask for room and not use it.
    pub(crate) fn size(&self) -> usize {
        let tag = if self.tag == 0 { 0 } else { TAG_BYTES };
        let resources = self.resources.len() * RESOURCE_BYTES + self.resource_bytes;
        self.bytes.capacity() + resources + OVERHEAD_BYTES + tag
    }

    /// Does it carry anything but bytes?
    pub(crate) fn has_resources(&self) -> bool {
        self.resources.iter().any(Option::is_some)
    }
}

/// What comes into a mailbox.
pub(crate) enum Message {
    Data(Data),
    /// A process has died that was linked with this tag.
    LinkDied {
        tag: i64,
    },
    /// A process has ended that was watched.
    ProcessDied {
        id: u64,
    },
}

impl Message {
    /// The tag by which it can be received; `None` is by none.
    pub(super) fn tag(&self) -> Option<i64> {
        match self {
            Message::Data(Data { tag, .. }) | Message::LinkDied { tag } => Some(*tag).filter(|tag| *tag != 0),
            Message::ProcessDied { .. } => None,
        }
    }

    /// How many resources it has room for.
    pub(crate) fn resources(&self) -> usize {
        match self {
            Message::Data(data) => data.resources.len(),
            Message::LinkDied { .. } | Message::ProcessDied { .. } => 0,
        }
    }

    /// What it takes, in a mailbox and elsewhere.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Message::Data(data) => data.size(),
            Message::LinkDied { tag: 0 } | Message::ProcessDied { .. } => OVERHEAD_BYTES,
            Message::LinkDied { .. } => OVERHEAD_BYTES + TAG_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_taken_once_and_as_what_it_is() {
        let mut data = Data::new(1, u64::MAX);
        assert_eq!(data.push(Box::new(5_u32), 0), Some(0));
        assert_eq!(data.push(Box::new("text"), 0), Some(1));
        assert_eq!((data.take::<u32>(1), data.take::<u32>(2), data.take::<u32>(u64::MAX)), (None, None, None));
        assert_eq!(data.take::<u32>(0), Some(5));
        assert_eq!(data.take::<u32>(0), None);
        assert!(data.has_resources());
        assert_eq!(data.take::<&str>(1), Some("text"));
        assert!(!data.has_resources());
    }

    #[test]
    fn a_message_counts_what_its_resources_take_until_they_are_taken() {
        let mut data = Data::new(1, 0);
        let empty = data.size();
        assert_eq!(data.push(Box::new(5_u32), 100_000), Some(0));
        assert_eq!(data.size(), empty + RESOURCE_BYTES + 100_000);
        assert_eq!((data.take::<&str>(0), data.size()), (None, empty + RESOURCE_BYTES + 100_000));
        assert_eq!((data.take::<u32>(0), data.size()), (Some(5), empty + RESOURCE_BYTES));
    }
}
