//! `sluice log repair`: makes a log that was refused as corrupt start again.

use std::path::Path;

use sluice_broker::local::Toll;
use sluice_wal::{FileDisk, Lost, Survey, WalError};

use crate::args::RepairArgs;
use crate::commands::place;
use crate::failure::Failure;

/// Says what a repair would give up, and does it if asked to.
#[expect(clippy::print_stdout, reason = "it is what the user asked for")]
pub(crate) fn repair(args: &RepairArgs) -> Result<(), Failure> {
    let data_dir = place::data_dir(&args.place)?;
    let disk = FileDisk::new(&data_dir);
    let refused = |error| refused(error, &data_dir);
    let Some(survey) = Survey::take(disk.clone()).map_err(refused)? else {
        println!("a start would not refuse this log; nothing was changed");
        return Ok(());
    };
    let toll = Toll::of(&survey)?;
    println!("{}\n{toll}", survey.damage());
    println!("given up: {}", given_up(survey.lost()));
    println!("kept: everything before, and {} records behind it", survey.kept());
    let touched = survey.touched().join(", ");
    if !args.yes {
        println!("copied to quarantine/ first: {touched}");
        println!("nothing was changed. To repair: {}", command(&data_dir, true));
        return Ok(());
    }
    let repaired = survey.repair()?;
    println!("repaired: wrote {}", repaired.made.join(", "));
    println!("what was there is kept in {}", repaired.quarantined.join(", "));
    match Survey::read(disk).map_err(refused)? {
        None => Ok(()),
        Some(survey) => {
            Err(Failure::Corrupt(format!("a start still refuses: {}", survey.damage())))
        }
    }
}

fn given_up(lost: &[Lost]) -> String {
    let records = |Lost { first, last }: &Lost| match first == last {
        true => format!("record {first}"),
        false => format!("records {first} to {last}"),
    };
    match lost {
        [] => "what can't be read at the end of the log".to_owned(),
        lost => lost.iter().map(records).collect::<Vec<_>>().join(", "),
    }
}

fn refused(error: WalError, data_dir: &Path) -> Failure {
    match error {
        WalError::Locked { .. } => Failure::Other(format!("{error}; stop it first")),
        WalError::Corrupt(_) => Failure::Corrupt(format!("{error}\n{}", no_repair(data_dir))),
        error => error.into(),
    }
}

/// What can be done about a log that is corrupt, with what that costs. The directory belongs to
/// this process, or to none.
pub(crate) fn advice(data_dir: &Path) -> String {
    let survey = Survey::read(FileDisk::new(data_dir));
    match survey {
        Ok(Some(survey)) => {
            let toll = match Toll::of(&survey) {
                Ok(toll) => toll.to_string(),
                Err(error) => format!("queues touched: unknown, {error}"),
            };
            let (look, repair) = (command(data_dir, false), command(data_dir, true));
            format!(
                "{toll}\nnothing was changed\nto see what a repair would give up: {look}\n\
                 to repair: {repair}"
            )
        }
        Ok(None) => "a start would not meet this; a message that can't be read then goes to the \
                     dead set. Nothing was changed"
            .to_owned(),
        Err(_) => no_repair(data_dir),
    }
}

fn no_repair(data_dir: &Path) -> String {
    let name = data_dir.display();
    format!("this can't be repaired: keep {name} and restore a copy. Nothing was changed")
}

/// The command as it can be given to a shell, from any directory.
fn command(data_dir: &Path, yes: bool) -> String {
    let path = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let path = quoted(&path.to_string_lossy());
    format!("sluice log repair --data-dir {path}{}", if yes { " --yes" } else { "" })
}

/// A word of a shell's command line.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_command_line() {
        assert_eq!(quoted("/var/lib/sluice"), "/var/lib/sluice");
        assert_eq!(quoted("/my data/$x"), "'/my data/$x'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
