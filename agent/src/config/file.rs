//! The configuration file: TOML, settings first, then tables.

use super::tables::Tables;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest file that is read, bytes: a configuration has some hundred.
const MAX_BYTES: u64 = 1 << 20;

/// One `key = value`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The value as a flag would be given it; none for arrays, tables and dates.
    pub(super) value: Option<String>,
    /// Line of the key, from 1.
    pub(super) line: usize,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Settings in order.
    pub(super) entries: Vec<Entry>,
    pub(super) tables: Tables,
}

/// Content of the file; the error is a sentence that names the file.
pub(super) fn read(path: &Path) -> Result<Content, String> {
    let text = text(path).map_err(|error| {
        format!(
            "cannot read configuration {}: {error}; give a TOML file by --config",
            path.display()
        )
    })?;
    let table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(&text, span.start));
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        format!("{}:{line}: not valid TOML: {message}", path.display())
    })?;
    let whole = table.span();
    let (tables, settings): (DeTable<'_>, DeTable<'_>) = table
        .into_inner()
        .into_iter()
        .partition(|(key, _)| Tables::NAMES.contains(&key.get_ref().as_ref()));
    let tables = Tables::read(Spanned::new(whole, tables)).map_err(|(message, span)| {
        let line = line_of(&text, span.start);
        format!("{}:{line}: {message}", path.display())
    })?;
    let mut entries: Vec<Entry> = settings
        .iter()
        .map(|(key, value)| Entry {
            line: line_of(&text, key.span().start),
            key: key.get_ref().to_string(),
            value: flag_text(value.get_ref()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.line);
    Ok(Content { entries, tables })
}

fn text(path: &Path) -> io::Result<String> {
    // A pipe would block for ever if nobody writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8"))
}

fn flag_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|n| n.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(is) => Some(is.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|c| *c == b'\n').count() + 1
}
