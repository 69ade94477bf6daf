//! How many bytes of the heap are in use: an allocator that counts.
//!
//! Messages, buffers of connections and indexes all live on the heap, so this one number is what
//! the memory budget is about, without estimates and without a list of what to add up. The size of
//! the process would not do: it doesn't go down when memory is freed.
//!
//! Beneath is mimalloc: what a busy broker frees on another thread than took it, and in another order,
//! makes glibc's allocator search its lists (8 % of the processor's time under 8 000 connections, 2 %
//! under 64).
#![expect(unsafe_code, reason = "an allocator is an unsafe trait; each call is passed on as it is")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use mimalloc::MiMalloc;

/// What a thread may have taken or given back without telling; a counter that all threads write at
/// every allocation would cost more than the allocations.
const UNTOLD_MAX: i64 = 64 << 10;

static TOLD: AtomicI64 = AtomicI64::new(0);

thread_local! {
    // Neither allocated when it is first used nor dropped when its thread ends.
    static UNTOLD: Cell<i64> = const { Cell::new(0) };
}

/// Bytes of the heap in use, up to 64 KiB a thread more or less.
pub(crate) fn used() -> u64 {
    u64::try_from(TOLD.load(Relaxed)).unwrap_or(0)
}

fn count(by: i64) {
    let untold = UNTOLD.try_with(|untold| {
        let sum = untold.get() + by;
        let tell = sum.abs() >= UNTOLD_MAX;
        untold.set(if tell { 0 } else { sum });
        if tell { sum } else { 0 }
    });
    let told = untold.unwrap_or(by);
    if told != 0 {
        TOLD.fetch_add(told, Relaxed);
    }
}

/// mimalloc, which counts.
pub(crate) struct Counting;

// A layout's size is at most isize::MAX, so the casts lose nothing.
//
// SAFETY: every call goes to mimalloc with what it was given, and what that returns
// is returned; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_given_back_is_counted() {
        const SIZE: u64 = 256 << 20;
        let before = used();
        let large = std::hint::black_box(Vec::<u8>::with_capacity(SIZE as usize));
        let during = used();
        drop(large);
        let after = used();
        // Other tests allocate as well, but not as much.
        assert!(during >= before + SIZE / 2, "{before} {during}");
        assert!(after <= during - SIZE / 2, "{during} {after}");
    }
}
