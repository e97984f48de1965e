//! The tables of the configuration file: what a flat list of settings cannot say.

use super::destination::Destination;
use crate::owner::Rule;
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, Deserializer, Error};

/// All of them. A file's table is a field here, and [`Tables::NAMES`] has its name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tables {
    /// Servers to push to, beside the one that the flags give.
    pub(crate) destination: Vec<Spanned<Destination>>,
    /// What is changed about owners, or left out, in this order.
    pub(crate) rule: Vec<Rule>,
}

impl Tables {
    /// Keys of the file that begin a list of tables.
    pub(super) const NAMES: [&str; 2] = ["destination", "rule"];

    /// Reads and checks them; an error is a sentence, and where in the file it belongs.
    pub(super) fn read(table: Spanned<DeTable<'_>>) -> Result<Self, (String, Range<usize>)> {
        let tables =
            Self::deserialize(Deserializer::from(table)).map_err(|error| sentence(&error))?;
        for destination in &tables.destination {
            destination
                .get_ref()
                .check("")
                .map_err(|message| (message, destination.span()))?;
        }
        Ok(tables)
    }
}

fn sentence(error: &Error) -> (String, Range<usize>) {
    let message = error.message();
    let message = unknown_key(message).unwrap_or_else(|| match message {
        "invalid type: map, expected a sequence" => {
            "there may be several of this table: write its name in double brackets, as in [[destination]]".to_owned()
        }
        _ => message.lines().collect::<Vec<_>>().join(", "),
    });
    (message, error.span().unwrap_or_default())
}

/// serde names all keys that there are; the one that was meant is enough.
fn unknown_key(message: &str) -> Option<String> {
    let (wrong, known) = message
        .strip_prefix("unknown field `")?
        .split_once("`, expected ")?;
    let known: Vec<String> = known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let meant = super::nearest(wrong, known.iter());
    Some(format!(
        "key {wrong:?} is not known here: did you mean {meant}?"
    ))
}
