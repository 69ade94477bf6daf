//! Where a broker keeps its messages, for commands that are not it: its settings, found as `serve`
//! finds them, with the data directory that was named.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::args::DataDirArgs;
use crate::failure::Failure;
use crate::settings::{Flags, Loaded, Settings, Sources};

/// The settings of the broker.
pub(crate) fn settings(args: &DataDirArgs) -> Result<Settings, Failure> {
    let sources = Sources::new(args.config.clone(), Flags::default());
    let mut settings = Loaded::read(&sources).accept()?.settings;
    if let Some(dir) = &args.data_dir {
        (settings.data_dir, settings.ephemeral) = (dir.clone(), false);
    }
    Ok(settings)
}

/// Its data directory. One that was named needs no settings: whoever looks for the damage may not
/// have them.
pub(crate) fn data_dir(args: &DataDirArgs) -> Result<PathBuf, Failure> {
    let dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => {
            let settings = settings(args)?;
            if settings.ephemeral {
                return Err(Failure::usage("a broker that keeps everything in memory has no log"));
            }
            settings.data_dir
        }
    };
    check_directory(&dir)?;
    Ok(dir)
}

/// An offline tool makes no directory.
pub(crate) fn check_directory(path: &Path) -> Result<(), Failure> {
    match path.is_dir() {
        true => Ok(()),
        false => Err(Failure::Other(format!("there is no directory {}", path.display()))),
    }
}

/// What a command makes goes where nothing is; `what` it makes.
pub(crate) fn check_new(path: &Path, what: &str) -> Result<(), Failure> {
    let shown = path.display();
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let hint = format!("{what} needs a new or an empty directory");
            Err(Failure::usage(format!("{shown} is not empty; {hint}")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(Failure::usage(format!("{shown} is no directory")))
        }
        Err(error) => Err(Failure::Other(format!("can't look into {shown}: {error}"))),
    }
}
