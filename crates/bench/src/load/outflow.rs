//! The publisher's bytes: messages one behind the other, written in one go.

use super::template::Template;

/// Gives a publisher what to write next.
pub trait Outflow: Send {
    /// Frames of messages from `first` on, at most `max` of them, and how many these are.
    fn next(&mut self, first: u64, max: u64) -> (&[u8], u64);
}

/// Bytes that are written in one go, if messages are small.
const WRITE: usize = 128 << 10;

/// Copies of a template, which are numbered anew each time.
#[derive(Debug)]
pub struct Batch {
    template: Template,
    frames: Vec<u8>,
}

impl Batch {
    /// As many copies as are worth one write.
    pub fn new(template: Template) -> Self {
        let copies = (WRITE / template.frame_bytes()).max(1);
        let mut frames = Vec::with_capacity(copies * template.frame_bytes());
        for _ in 0..copies {
            template.put(0, &mut frames);
        }
        Self { template, frames }
    }
}

impl Outflow for Batch {
    fn next(&mut self, first: u64, max: u64) -> (&[u8], u64) {
        let step = self.template.frame_bytes();
        let count = ((self.frames.len() / step) as u64).min(max);
        let frames = &mut self.frames[..count as usize * step];
        for (number, frame) in (first..).zip(frames.chunks_exact_mut(step)) {
            self.template.number(number, frame);
        }
        (frames, count)
    }
}
