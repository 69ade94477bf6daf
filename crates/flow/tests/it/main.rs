//! What limits by key cost: bytes a live key, and time with many of them.
//!
//! Counted is every byte that is asked of the allocator: keys with their texts, heads, windows, what is
//! kept aside, and the room that vectors have to spare; not what the allocator itself adds to a block.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait; each call is passed on as it is")]

mod memory;
mod pace;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Each test runs on a thread of its own.
    static USED: Cell<i64> = const { Cell::new(0) };
}

/// Bytes in use that this thread asked for.
fn used() -> i64 {
    USED.get()
}

struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

// A layout's size is at most isize::MAX, so the casts lose nothing.
//
// SAFETY: every call goes to the system's allocator with what it was given, and what that returns is
// returned; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = USED.try_with(|used| used.set(used.get() + layout.size() as i64));
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let _ = USED.try_with(|used| used.set(used.get() - layout.size() as i64));
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.dealloc(block, layout) }
    }
}
