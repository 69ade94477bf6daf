//! The log on real files.

mod files;
