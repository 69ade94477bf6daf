//! The bytes of a file: in the cache, on the media, and which sectors differ.

use std::collections::{BTreeMap, BTreeSet};

use super::random::{draw, toss};

pub(super) const PAGE: usize = 4096;
pub(super) const SECTOR: usize = 512;

/// The pages that were written, by their number.
pub(super) type Pages = BTreeMap<u64, Box<[u8; PAGE]>>;

#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    pub(super) cache: Pages,
    pub(super) len: u64,
    pub(super) media: Pages,
    pub(super) media_len: u64,
    /// Sectors of the cache that the media does not have.
    pub(super) dirty: BTreeSet<u64>,
}

impl FileState {
    /// Copies a sector from the cache to the media.
    pub(super) fn save(&mut self, sector: u64) {
        let page = sector * SECTOR as u64 / PAGE as u64;
        let at = sector as usize * SECTOR % PAGE;
        let Some(from) = self.cache.get(&page) else { return };
        let to = self.media.entry(page).or_insert_with(|| Box::new([0; PAGE]));
        to[at..at + SECTOR].copy_from_slice(&from[at..at + SECTOR]);
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], tracks: bool) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % PAGE as u64) as usize;
            let part = (PAGE - within).min(bytes.len() - done);
            let from = &bytes[done..done + part];
            done += part;
            // What was never written reads as zeros; zeros need no page of their own.
            let number = at / PAGE as u64;
            if self.cache.contains_key(&number) || from.iter().any(|byte| *byte != 0) {
                let page = self.cache.entry(number).or_insert_with(|| Box::new([0; PAGE]));
                page[within..within + part].copy_from_slice(from);
            }
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        if tracks && !bytes.is_empty() {
            let last = (offset + bytes.len() as u64 - 1) / SECTOR as u64;
            self.dirty.extend(offset / SECTOR as u64..=last);
        }
    }
}

pub(super) fn read_pages(pages: &Pages, offset: u64, buffer: &mut [u8]) {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let part = (PAGE - within).min(buffer.len() - done);
        let target = &mut buffer[done..done + part];
        match pages.get(&(at / PAGE as u64)) {
            Some(page) => target.copy_from_slice(&page[within..within + part]),
            None => target.fill(0),
        }
        done += part;
    }
}

/// How much of a write of `len` bytes at `offset` is done when it is cut: up to the end of a
/// sector, as by a crash, or up to any byte, as by a limit or a quota.
pub(super) fn cut_write(offset: u64, len: usize, random: &mut u64) -> usize {
    let done = draw(random) as usize % (len + 1);
    let end = (offset + done as u64) / SECTOR as u64 * SECTOR as u64;
    if toss(random) { end.saturating_sub(offset) as usize } else { done }
}
