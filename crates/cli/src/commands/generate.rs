//! `sluice completions` and `sluice man`: what is made from the command line's own declaration.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::commands::print;
use crate::failure::Failure;

/// Prints a shell's script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "sluice", &mut script);
    print(&String::from_utf8(script).map_err(Failure::other)?)
}

/// Prints the main page, or writes every page.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let command = Args::command();
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir).map_err(Failure::other)?;
        return clap_mangen::generate_to(command, dir).map_err(Failure::other);
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Failure::other)?;
    print(&String::from_utf8(page).map_err(Failure::other)?)
}
