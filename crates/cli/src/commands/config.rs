//! `sluice config`: the settings that `serve` would get.

use std::io::Write;

use crate::args::{SettingsArgs, ShowArgs};
use crate::commands::print;
use crate::failure::Failure;
use crate::settings::{self, Loaded};

/// Finds all that is wrong.
pub(crate) fn check(args: &SettingsArgs) -> Result<(), Failure> {
    let loaded = Loaded::read(&args.sources()).check()?;
    print(&match &loaded.file {
        Some(path) => format!("{} is good\n", path.display()),
        None => "there is no configuration file, and what else is set is good\n".to_owned(),
    })
}

/// Shows every setting.
pub(crate) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let loaded = Loaded::read(&args.settings.sources()).accept()?;
    for warning in &loaded.warnings {
        // Whoever can't be told has at least the settings.
        let _ = writeln!(std::io::stderr(), "sluice: {warning}");
    }
    match args.json {
        true => print(&format!("{:#}\n", settings::json(&loaded))),
        false => print(&settings::text(&loaded, args.origin)),
    }
}

/// Prints a file with every key.
pub(crate) fn default() -> Result<(), Failure> {
    print(&settings::default_file())
}
