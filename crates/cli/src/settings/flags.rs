//! The layer of flags, which clap gets from the table of keys.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint};

use super::given::Given;
use super::key::{self, Key};
use super::kind::{Kind, Reading};
use super::origin::Origin;
use super::value::Raw;

/// The settings that were given as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) given: Vec<Given>,
}

fn flagged() -> impl Iterator<Item = (&'static Key, &'static str)> {
    key::all().filter_map(|key| Some((key, key.traits.flag?)))
}

fn read(key: &'static Key, text: &str) -> Result<Given, String> {
    let raw = Raw::Text(text.to_owned());
    let origin = Origin::Flag(format!("--{}", key.flag_name()));
    let value = key.kind.read(&raw, Reading::Same)?;
    Ok(Given { key, value, origin })
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let command = flagged().fold(command, |command, (key, value)| {
            let arg = Arg::new(key.name).long(key.flag_name()).help(key.doc().replace('`', ""));
            let arg = match key.traits.flag_alias {
                Some(alias) => arg.visible_alias(alias),
                None => arg,
            };
            let parse = move |text: &str| read(key, text);
            command.arg(match key.kind {
                Kind::Switch => arg.action(ArgAction::SetTrue),
                Kind::Word(words) => {
                    let words = PossibleValuesParser::new(words);
                    arg.value_name(value).value_parser(words.try_map(move |word| read(key, &word)))
                }
                Kind::Path | Kind::PathOrNone => {
                    arg.value_name(value).value_hint(ValueHint::AnyPath).value_parser(parse)
                }
                _ => arg.value_name(value).value_parser(parse),
            })
        });
        command.mut_arg("ephemeral", |arg| arg.conflicts_with("data_dir"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = flagged().filter_map(|(key, _)| match key.kind {
            Kind::Switch => matches.get_flag(key.name).then(|| read(key, "true").ok()).flatten(),
            _ => matches.get_one::<Given>(key.name).cloned(),
        });
        Ok(Self { given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
