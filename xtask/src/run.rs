//! Other programs, started from the workspace's root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::process::Signal;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Runs cargo with these arguments and fails if it does.
pub(crate) fn cargo(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root())
        .status()
        .context("can't start cargo")?;
    if !status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    Ok(())
}

/// Runs cargo quietly and gives whether it succeeded and what it printed.
pub(crate) fn cargo_output(args: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = Command::new("cargo")
        .args(args)
        .current_dir(root())
        .stderr(Stdio::null())
        .output()
        .context("can't start cargo")?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The release build of the broker, made now.
pub(crate) fn release_broker() -> anyhow::Result<PathBuf> {
    cargo(&["build", "--release", "--quiet", "--package", "sluice-cli"], &[])?;
    Ok(target().join("release").join("sluice"))
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from)
}

/// Whether this is an unoptimised build, whose figures would be its own and not the broker's.
pub(crate) const fn is_slow() -> bool {
    cfg!(debug_assertions)
}

/// Runs the same task again in an optimised build. What ends this process ends that one.
pub(crate) fn again_in_release() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut all = vec!["run", "--release", "--quiet", "--package", "xtask", "--"];
    all.extend(args.iter().map(String::as_str));
    let mut command = Command::new("cargo");
    command.args(all).current_dir(root());
    // cargo replaces itself with what it runs, which gets the signal in its place.
    sluice_bench::child::bind(&mut command, Signal::TERM);
    let status = command.status().context("can't start cargo")?;
    if !status.success() {
        bail!("cargo xtask in a release build failed: {status}");
    }
    Ok(())
}
