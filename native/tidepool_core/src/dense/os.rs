//! Address space from the system: reserved, guarded, looked through, given back.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

/// Pages of all machines that are supported have this size.
pub(super) const PAGE_BYTES: usize = 4 << 10;
/// `MADV_GUARD_INSTALL` of Linux 6.13, which the libc crate does not name yet.
const MADV_GUARD_INSTALL: libc::c_int = 102;
/// `PAGEMAP_SCAN` of Linux 6.7: `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// How a page is made inaccessible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guards {
    /// A mark in the page table, which costs no mapping.
    Markers,
    /// Its protection, which splits the mapping in two.
    Protection,
}

impl Guards {
    /// The better of the two that this kernel has.
    pub(super) fn probe() -> Self {
        let marked = Space::reserve(PAGE_BYTES).and_then(|page| page.guard(0..PAGE_BYTES, Guards::Markers));
        if marked.is_ok() { Guards::Markers } else { Guards::Protection }
    }
}

/// A range of address space that can be read and written, and takes memory where that is done.
#[derive(Debug)]
pub(super) struct Space {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the value is an address and a length. The code that uses the memory behind it answers for how.
unsafe impl Send for Space {}
// SAFETY: as above; no method that takes `&self` touches the value itself.
unsafe impl Sync for Space {}

impl Space {
    /// Reserves `len` bytes, a multiple of the page size.
    pub(super) fn reserve(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a mapping at an address of the kernel's choice touches no other.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let space = Space { base, len };
        // A guest that touches a byte must not be given 2 MiB. A kernel without huge pages refuses, and has none to give.
        let _ = space.advise(0..len, libc::MADV_NOHUGEPAGE);
        Ok(space)
    }

    /// The address at `offset`, which is inside or just behind the space.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.len);
        self.base.as_ptr().wrapping_add(offset)
    }

    /// Makes `range` inaccessible, for good.
    pub(super) fn guard(&self, range: Range<usize>, guards: Guards) -> io::Result<()> {
        match guards {
            Guards::Markers => self.advise(range, MADV_GUARD_INSTALL),
            Guards::Protection => {
                let len = self.check(&range)?;
                // SAFETY: the range is ours, and its owner has asked for it to be inaccessible.
                done(unsafe { libc::mprotect(self.at(range.start).cast(), len, libc::PROT_NONE) })
            }
        }
    }

    /// Gives the memory of `range` back to the system. It reads as zero afterwards.
    pub(super) fn discard(&self, range: Range<usize>) -> io::Result<()> {
        self.advise(range, libc::MADV_DONTNEED)
    }

    /// Zeroes what was written in `range`, in place, when it is no more than `most` bytes; says how much it was.
    ///
    /// `None` when it is more, when it lies too scattered, or when the kernel can't tell: some of it is zeroed then.
    ///
    /// # Safety
    /// No other thread may use the range meanwhile, and no part of it may be guarded.
    pub(super) unsafe fn zero_written(&self, range: Range<usize>, most: usize, pages: &PageMap) -> Option<usize> {
        self.check(&range).ok()?;
        let (start, end) = (self.at(range.start).addr() as u64, self.at(range.end).addr() as u64);
        // As the kernel returns regions in order, one page more than allowed tells that there are too many.
        let mut regions = [Region::default(); MAX_REGIONS];
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start,
            end,
            vec: regions.as_mut_ptr().addr() as u64,
            vec_len: MAX_REGIONS as u64,
            max_pages: (most / PAGE_BYTES) as u64 + 1,
            // Not the shared page of zeros; in memory, or swapped out.
            category_inverted: PAGE_IS_PFNZERO,
            category_mask: PAGE_IS_PFNZERO,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            ..Scan::default()
        };
        // SAFETY: the kernel writes to `scan` and, within the given length, to `regions`, both of which outlive the call.
        let found = unsafe { libc::ioctl(pages.0.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
        let found = regions.get(..usize::try_from(found).ok()?)?;
        let written = found.iter().map(|region| region.end.saturating_sub(region.start)).sum::<u64>();
        let written = usize::try_from(written).ok().filter(|written| *written <= most)?;
        if scan.walk_end != end {
            return None;
        }
        for region in found {
            let inside = start <= region.start && region.start <= region.end && region.end <= end;
            let (from, len) = (usize::try_from(region.start).ok()?, usize::try_from(region.end - region.start).ok()?);
            if !inside {
                return None;
            }
            // SAFETY: the region lies in the range, which is mapped, writable and, as the caller guarantees, unused.
            unsafe { self.base.as_ptr().with_addr(from).write_bytes(0, len) };
        }
        Some(written)
    }

    fn advise(&self, range: Range<usize>, advice: libc::c_int) -> io::Result<()> {
        let len = self.check(&range)?;
        // SAFETY: the range is ours. The advices given here take away its contents or its accessibility, which its owner
        // has asked for, and nothing beyond it.
        done(unsafe { libc::madvise(self.at(range.start).cast(), len, advice) })
    }

    fn check(&self, range: &Range<usize>) -> io::Result<usize> {
        let inside = range.start <= range.end && range.end <= self.len;
        if inside { Ok(range.end - range.start) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and slots keep what they are part of alive: it is not in use any more. Should the
        // kernel have too many mappings to split off this one, it stays, and takes address space alone.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The kernel's word on which pages of this process exist.
#[derive(Debug)]
pub(super) struct PageMap(File);

impl PageMap {
    /// `None` where the kernel has no such thing, or keeps it from us.
    pub(super) fn open() -> Option<Self> {
        File::open("/proc/self/pagemap").ok().map(PageMap)
    }
}

/// Separate stretches of written pages that are worth zeroing one by one.
const MAX_REGIONS: usize = 32;

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

fn done(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
