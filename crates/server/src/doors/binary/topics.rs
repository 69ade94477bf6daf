//! The topics that a connection has published to, so that doing it again allocates nothing.

use std::collections::HashSet;

use sluice_model::{NameError, Topic};

/// Topics remembered; at 255 bytes each, at most 64 KiB.
const TOPICS_MAX: usize = 256;

/// A connection's topics.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    last: Option<Topic>,
    known: HashSet<Topic>,
}

impl Topics {
    /// The topic of that name.
    pub(crate) fn named(&mut self, name: &str) -> Result<Topic, NameError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == name) {
            return Ok(last.clone());
        }
        let topic = match self.known.get(name) {
            Some(known) => known.clone(),
            None => {
                let topic = Topic::new(name)?;
                if self.known.len() >= TOPICS_MAX {
                    self.known.clear();
                }
                self.known.insert(topic.clone());
                topic
            }
        };
        self.last = Some(topic.clone());
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_made_once_and_the_memory_is_bounded() {
        let mut topics = Topics::default();
        let first = topics.named("a").unwrap();
        topics.named("b").unwrap();
        let again = topics.named("a").unwrap();
        assert!(std::ptr::eq(first.as_str(), again.as_str()));
        for number in 0..10 * TOPICS_MAX {
            assert_eq!(
                topics.named(&format!("t.{number}")).unwrap().as_str(),
                format!("t.{number}")
            );
        }
        assert!(topics.known.len() <= TOPICS_MAX);
        assert!(topics.named("a b").is_err());
    }
}
