//! A configuration file with every key, made from the table of keys.

use super::Settings;
use super::key::Key;
use super::keys::SECTIONS;

const HEAD: &str = "\
# Settings of Sluice. Every key is here with its default, behind a `#`: take that away to change it.
# Headings are for readers: a key may as well stand above all of them. Sizes take K, M, G and T as
# powers of 1024 (64KiB, 64k); durations ms, s, m, h and d, and as KEY_ms a plain number of
# milliseconds. Variables (SLUICE_MAX_BYTES=2g, or SLUICE_QUEUES__MAX_BYTES=2g) beat this file, and
# flags of `sluice serve` beat both.
";

/// The longest line of a comment.
const WIDTH: usize = 100;

/// The text of the file.
pub(crate) fn default_file() -> String {
    let settings = Settings::default();
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        text += &format!("\n# {}.\n[{}]\n", section.title, section.name);
        for key in section.keys {
            text += "\n";
            text += &comment(&format!("{}.{}", key.doc().replace('`', ""), names(key)));
            let value = key.kind.toml(&(key.get)(&settings));
            text += &format!("#{} = {value}\n", key.name);
        }
    }
    text + LIMITS
}

/// What can stand behind all sections.
const LIMITS: &str = "
# Limits: how fast, and how many at once, messages are handed out (scopes queue and key), or
# requests are taken (client and global). A name that stands here is the file's: SIGHUP reads it
# again, and nobody else changes it. [[limits.NAME]] takes several of one name with different
# matches. docs/protocol/limits.md says what the fields mean.
#
# [limits.stripe]
# key = \"stripe:*\"          # each key that begins so has its own limit
# queue = \">\"               # in all queues
# rate = \"5/s\"
# burst = 2
# window = \"100/1m\"
# concurrency = 4
#
# [limits.front]
# scope = \"client\"
# rate = \"100/s\"
# burst = 20
# max_wait_ms = 250          # what comes too fast waits so long at most, then it is refused
";

/// What else the key is called.
fn names(key: &Key) -> String {
    let also: Vec<&str> = key.traits.also.iter().map(|(name, _)| *name).collect();
    match also.as_slice() {
        [] => String::new(),
        also => format!(" In files of old also: {}.", also.join(", ")),
    }
}

/// The text in lines that begin with `# `.
fn comment(text: &str) -> String {
    let mut lines = String::from("#");
    let mut width = 1;
    for word in text.split_whitespace() {
        if width + 1 + word.len() > WIDTH {
            lines += "\n#";
            width = 1;
        }
        lines += " ";
        lines += word;
        width += 1 + word.len();
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::merge::merge;
    use crate::settings::{file, key};

    fn assert_is_default(text: &str, given: bool) {
        let found = file::parse(Path::new("sluice.toml"), text);
        assert!(found.problems.is_empty(), "{found:?}");
        let (settings, origins, problems) = merge([found.given, Vec::new(), Vec::new()]);
        assert!(problems.is_empty(), "{problems:?}");
        for key in key::all() {
            assert_eq!((key.get)(&settings), (key.get)(&Settings::default()), "{}", key.name);
            assert_eq!(origins.has(key.name), given, "{}", key.name);
        }
        assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()));
    }

    #[test]
    fn the_default_file_says_the_defaults_with_and_without_its_hashes() {
        let text = default_file();
        assert_is_default(&text, false);
        let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ");
        let bare: String = text
            .lines()
            .map(|line| if is_key(line) { &line[1..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_is_default(&bare, true);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }
}
