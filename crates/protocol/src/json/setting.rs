//! A queue's settings as an object: numbers as numbers, words as strings.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_model::{QueueSettings, Refusal, Setting, SettingError, SettingKind};

use super::fields::{bad, invalid, wrong};
use super::value::{Json, shortened};

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Value {
    /// A count, bytes or milliseconds.
    Whole(u64),
    /// A number with a fraction.
    Fraction(f64),
    /// One of a setting's words.
    Word(Cow<'static, str>),
}

impl Value {
    /// The value that `number` stands for in the table of settings.
    pub fn of(setting: Setting, number: u64) -> Self {
        match setting.kind() {
            SettingKind::Count | SettingKind::Bytes | SettingKind::Millis => Self::Whole(number),
            // Thousandths in range have at most 10 digits, and the nearest f64 is shown as they are.
            SettingKind::Thousandths => Self::Fraction(number as f64 / 1_000.0),
            SettingKind::Word(words) => {
                let word = usize::try_from(number).ok().and_then(|at| words.get(at));
                Self::Word(word.copied().unwrap_or("?").into())
            }
        }
    }
}

/// Settings by name.
pub type Settings = BTreeMap<Cow<'static, str>, Value>;

/// Settings by name, for whoever reads them.
pub(super) fn told(settings: &QueueSettings) -> Settings {
    let told =
        |(setting, value): (Setting, u64)| (setting.name().into(), Value::of(setting, value));
    settings.iter().map(told).collect()
}

/// Reads the settings that were sent, if they were.
pub(super) fn taken(value: Option<Json>) -> Result<QueueSettings, Refusal> {
    let mut settings = QueueSettings::default();
    let fields = match value {
        None => return Ok(settings),
        Some(Json::Object(fields)) => fields,
        Some(other) => return Err(wrong("settings", &other, "an object")),
    };
    for (name, value) in &fields {
        let setting = Setting::named(shortened(name)).map_err(refused)?;
        let text = match (setting.kind(), value) {
            (SettingKind::Word(_), Json::Text(word)) => shortened(word).to_owned(),
            (SettingKind::Word(_), other) => return Err(wrong(setting.name(), other, "a string")),
            (_, Json::Number(number)) => number.to_string(),
            (_, other) => return Err(wrong(setting.name(), other, "a number")),
        };
        settings.set_text(setting.name(), &text).map_err(refused)?;
    }
    Ok(settings)
}

fn refused(error: SettingError) -> Refusal {
    let text = error.to_string();
    match error {
        SettingError::Range { .. } => invalid(text),
        // A string where a word is expected: only the value is wrong.
        SettingError::Kind { name, .. } if is_word(name) => invalid(text),
        SettingError::Unknown { .. } | SettingError::Kind { .. } => bad(text),
    }
}

fn is_word(name: &str) -> bool {
    Setting::named(name).is_ok_and(|setting| matches!(setting.kind(), SettingKind::Word(_)))
}
