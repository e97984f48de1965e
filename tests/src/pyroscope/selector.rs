//! Label selectors: `{name="value", other!="value"}`.

use std::collections::BTreeMap;

/// Conditions that all hold for a series that is selected.
#[derive(Debug, Default)]
pub(super) struct Selector {
    conditions: Vec<(String, bool, String)>,
}

impl Selector {
    /// Reads a selector; `=~` and `!~`, which the real server knows, are errors here.
    pub(super) fn parse(text: &str) -> Result<Selector, String> {
        let inner = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let mut rest = inner
            .ok_or_else(|| format!("parse error: selector {text:?} has no braces"))?
            .trim();
        let mut conditions = Vec::new();
        while !rest.is_empty() {
            let (name, after) = rest
                .split_once('=')
                .ok_or_else(|| format!("parse error in {text:?}: expected ="))?;
            let (name, equal) = match name.trim().strip_suffix('!') {
                Some(name) => (name, false),
                None => (name.trim(), true),
            };
            let (value, after) = quoted(after.trim_start())
                .ok_or_else(|| format!("parse error in {text:?}: expected a string"))?;
            conditions.push((name.trim().trim_matches('"').to_owned(), equal, value));
            let after = after.trim_start();
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        }
        Ok(Selector { conditions })
    }

    /// Whether a series with these labels is selected; a label that is absent is an empty one.
    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.conditions.iter().all(|(name, equal, value)| {
            (labels.get(name).map_or("", String::as_str) == value) == *equal
        })
    }
}

/// The string at the begin of `text`, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.strip_prefix('"')?.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 2..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Selector::parse(selector).unwrap().selects(&labels)
    }

    /// Conditions are ANDed, an absent label is an empty one, `{}` is everything.
    #[test]
    fn selectors_select() {
        let labels = [("service_name", "a\"b"), ("pod", "p")];
        assert!(selects(r#"{service_name="a\"b", pod!="q"}"#, &labels));
        assert!(selects(r#"{node="",pod="p"}"#, &labels));
        assert!(selects("{}", &labels));
        assert!(!selects(r#"{service_name="a\"b",pod="q"}"#, &labels));
    }

    /// What is no selector, or none of those known here, is an error.
    #[test]
    fn bad_selectors_are_errors() {
        for text in ["", "a=\"b\"", "{a}", "{a=b}", "{a=\"b}", "{a=~\"b.*\"}"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
