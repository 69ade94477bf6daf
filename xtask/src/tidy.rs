//! Sizes, headers and leftovers of the source files.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::run::root;

/// Longest function before somebody is asked what second thing lives in it.
const FUNCTION_LINES_MAX: usize = 70;
/// Functions that are longer: file, name, and the reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 3] = [
    ("crates/engine/src/apply.rs", "apply", "one flat match, an arm for each record"),
    ("crates/engine/src/record/codec.rs", "encode", "one flat match, an arm for each record"),
    ("crates/engine/src/record/codec.rs", "decode", "one flat match, an arm for each record"),
];
/// How many of the largest files and functions are shown.
const SHOWN: usize = 10;

struct Function {
    file: String,
    name: String,
    lines: usize,
}

pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut problems = Vec::new();
    let mut sizes = Vec::new();
    let mut functions = Vec::new();
    for path in &files {
        let text = std::fs::read_to_string(path)?;
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        check(&name, &text, &mut problems);
        sizes.push((text.lines().count(), name.clone()));
        functions.extend(find_functions(&name, &text));
    }
    sizes.sort_by(|a, b| b.cmp(a));
    functions.sort_by_key(|function: &Function| std::cmp::Reverse(function.lines));
    println!("the largest files:");
    for (lines, name) in sizes.iter().take(SHOWN) {
        println!("{lines:>6}  {name}");
    }
    println!("the largest functions:");
    for Function { file, name, lines } in functions.iter().take(SHOWN) {
        println!("{lines:>6}  {name} in {file}");
    }
    for Function { file, name, lines } in &functions {
        let known = LONG_FUNCTIONS.iter().any(|(at, long, _)| at == file && long == name);
        if *lines > FUNCTION_LINES_MAX && !known {
            problems.push(format!("{file}: {name} has {lines} lines; split it or give a reason"));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn check(name: &str, text: &str, problems: &mut Vec<String>) {
    let is_test = name.contains("tests");
    if !text.starts_with("//!") && !is_test {
        problems.push(format!("{name}: no `//!` header says what it is"));
    }
    // Put together here so that this file does not find itself.
    let leftovers = [["TO", "DO"], ["FIX", "ME"], ["XX", "X "], ["#[ign", "ore"], ["/wo", "rk/"]];
    for leftover in leftovers {
        let leftover = leftover.concat();
        for (at, line) in text.lines().enumerate() {
            if line.contains(&leftover) {
                problems.push(format!("{name}:{}: {leftover}", at + 1));
            }
        }
    }
}

/// Functions by their first line and the line that closes them at the same depth, which rustfmt
/// makes reliable.
fn find_functions(file: &str, text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        let Some(at) = trimmed.find("fn ") else { continue };
        let before = &trimmed[..at];
        let is_function = before
            .split_whitespace()
            .all(|word| ["pub", "pub(crate)", "pub(super)", "const", "async"].contains(&word));
        // A trait's method without a body ends where it begins.
        if !is_function || line.ends_with(';') {
            continue;
        }
        let name: String = trimmed[at + 3..]
            .chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect();
        let end = format!("{indent}}}");
        if let Some(length) = lines[start..].iter().position(|line| **line == end) {
            functions.push(Function { file: file.to_owned(), name, lines: length + 1 });
        }
    }
    functions
}
