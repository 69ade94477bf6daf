//! Which crate may depend on which, and what the pure ones must not reach.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::run::{cargo, cargo_output, root};

/// The arrows between our crates: who may use whom.
const ARROWS: [(&str, &[&str]); 14] = [
    ("sluice-model", &[]),
    ("sluice-flow", &[]),
    ("sluice-wal", &[]),
    ("sluice-engine", &["flow", "model"]),
    ("sluice-protocol", &["model"]),
    ("sluice-broker", &["engine", "wal", "flow", "model"]),
    ("sluice-server", &["broker", "protocol", "flow", "model"]),
    ("sluice-client", &["protocol", "flow", "model"]),
    ("sluice-bench", &["protocol", "flow", "model"]),
    ("sluice-chaos", &["flow"]),
    ("sluice-fetch", &["broker", "client", "wal", "flow", "model"]),
    ("sluice-sim", &["broker", "engine", "wal", "flow", "model", "protocol", "server"]),
    (
        "sluice-cli",
        &[
            "server", "broker", "engine", "wal", "flow", "model", "bench", "chaos", "client",
            "fetch", "protocol",
        ],
    ),
    ("xtask", &["bench", "sim"]),
];

/// Crates without I/O, clocks or chance of their own.
const PURE: [&str; 4] = ["sluice-model", "sluice-flow", "sluice-engine", "sluice-protocol"];

/// What would give them one of these.
const IMPURE: [&str; 7] = ["tokio", "mio", "rustix", "getrandom", "rand", "parking_lot", "socket2"];

const WASM: &str = "wasm32-unknown-unknown";

pub(crate) fn run() -> anyhow::Result<()> {
    check_arrows()?;
    for krate in PURE {
        let tree = ["tree", "--edges", "normal", "--prefix", "none", "--package", krate];
        let (_, tree) = cargo_output(&tree)?;
        if tree.is_empty() {
            bail!("cargo tree shows nothing for {krate}");
        }
        let names: BTreeSet<&str> =
            tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        if let Some(found) = IMPURE.iter().find(|name| names.contains(**name)) {
            bail!("{krate} depends on {found}");
        }
        let folder = krate.trim_start_matches("sluice-");
        let path = root().join("crates").join(folder).join("clippy.toml");
        let lints = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for banned in ["Instant::now", "SystemTime::now", "thread::spawn", "HashMap"] {
            if !lints.contains(banned) {
                bail!("{} does not disallow {banned}", path.display());
            }
        }
    }
    if wasm_is_installed() {
        for krate in PURE {
            cargo(&["build", "--quiet", "--package", krate, "--target", WASM], &[])?;
        }
    } else {
        println!("{WASM} is not installed, its build is skipped");
    }
    println!("the arrows between crates hold; {} are pure", PURE.join(", "));
    Ok(())
}

fn wasm_is_installed() -> bool {
    let output = std::process::Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM])
        .output();
    let path = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    path.is_ok_and(|path| !path.is_empty() && std::path::Path::new(&path).exists())
}

fn check_arrows() -> anyhow::Result<()> {
    let (_, metadata) = cargo_output(&["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = allowed.get(name) else {
            bail!("{name} is not in the table of crates");
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Tests may use anything.
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let target = dependency["name"].as_str().unwrap_or_default();
            if let Some(ours) = target.strip_prefix("sluice-")
                && !allowed.contains(&ours)
            {
                bail!("{name} must not depend on {target}");
            }
        }
    }
    Ok(())
}
