//! Where a value comes from.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &Path, text: &str) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), text: text.to_owned() })
    }

    /// The line and the column of a byte, both from 1; columns count characters.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
    /// The byte at a line and a column, both from 1.
    pub(crate) fn offset(&self, line: u64, column: u64) -> usize {
        let index =
            |from_one: u64| usize::try_from(from_one.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut rest = self.text.as_str();
        for _ in 0..index(line) {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
        let in_line = rest.char_indices().nth(index(column)).map_or(rest.len(), |(at, _)| at);
        self.text.len() - rest.len() + in_line
    }
}

/// The layer that a value comes from. Each beats those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    Default,
    File,
    Environment,
    Flags,
}

impl Layer {
    /// Its name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flags => "flag",
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// The name in a file, with the bytes where it stands.
    File {
        source: Arc<Source>,
        name: String,
        span: Range<usize>,
    },
    Variable(String),
    Flag(String),
}

impl Origin {
    pub(crate) fn layer(&self) -> Layer {
        match self {
            Self::File { .. } => Layer::File,
            Self::Variable(_) => Layer::Environment,
            Self::Flag(_) => Layer::Flags,
        }
    }

    /// FILE:LINE:COLUMN, or the variable or flag.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::File { source, span, .. } => {
                let (line, column) = source.position(span.start);
                format!("{}:{line}:{column}", source.path.display())
            }
            Self::Variable(name) => format!("variable {name}"),
            Self::Flag(name) => format!("flag {name}"),
        }
    }

    /// The name by which the value was given there.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Variable(name) | Self::Flag(name) => name,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, .. } => write!(f, "{} ({name})", self.place()),
            Self::Variable(_) | Self::Flag(_) => f.write_str(&self.place()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new(Path::new("f"), "a = 1\n# é\n  b = 2\n");
        let at = source.text.find('b').unwrap();
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(at), (3, 3));
        assert_eq!((source.offset(1, 1), source.offset(3, 3)), (0, at));
        assert_eq!((source.offset(9, 9), source.offset(0, 0)), (source.text.len(), 0));
        assert_eq!(source.position(source.text.find('\u{e9}').unwrap() + 2), (2, 4));
    }
}
