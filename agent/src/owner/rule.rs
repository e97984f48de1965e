//! Rules of the configuration that keep, drop and rewrite owners by their labels.

use super::label::label_name;
use super::labels::{LabelConfig, Labels};
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Between the values of several labels, which have no control characters.
const SEPARATOR: char = '\0';
/// What the agent sets itself.
const FIXED: [&str; 2] = ["node", "profiler"];

/// A table `[[rule]]` of the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Table")]
pub(crate) struct Rule {
    /// Labels whose values are looked at, in the order of their names.
    labels: Vec<String>,
    /// What these values match, one behind the other: so groups of all of them can be used in what is set.
    pattern: Regex,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Keep,
    Drop,
    Set(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    r#match: BTreeMap<String, String>,
    action: ActionName,
    #[serde(default)]
    set: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    Keep,
    Drop,
    Set,
}

impl Rule {
    /// Changes the labels as the rule says. False if their owner is not to be profiled.
    pub(super) fn apply(&self, labels: &mut Labels, config: &LabelConfig) -> bool {
        let mut values = String::new();
        for (at, name) in self.labels.iter().enumerate() {
            if at > 0 {
                values.push(SEPARATOR);
            }
            values.push_str(labels.get(name, config));
        }
        let captures = self.pattern.captures(&values);
        match &self.action {
            Action::Keep => captures.is_some(),
            Action::Drop => captures.is_none(),
            Action::Set(set) => {
                if let Some(captures) = captures {
                    for (name, replacement) in set {
                        let mut value = String::new();
                        captures.expand(replacement, &mut value);
                        labels.set(name, &value);
                    }
                }
                true
            }
        }
    }
}

impl TryFrom<Table> for Rule {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        let action = match table.action {
            ActionName::Set if table.set.is_empty() => {
                return Err(
                    "action \"set\" sets nothing: write set = { label = \"value\" }".to_owned(),
                );
            }
            ActionName::Set => {
                table.set.keys().try_for_each(|name| can_be_set(name))?;
                Action::Set(table.set)
            }
            _ if !table.set.is_empty() => {
                return Err("a rule sets labels or keeps or drops owners: leave out set, or write action = \"set\"".to_owned());
            }
            _ if table.r#match.is_empty() => {
                return Err("without match the rule is about every owner: write match = { label = \"pattern\" }".to_owned());
            }
            ActionName::Keep => Action::Keep,
            ActionName::Drop => Action::Drop,
        };
        for (label, pattern) in &table.r#match {
            // By itself, so that no parenthesis reaches into the next one.
            Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                format!("match.{label}: {pattern:?} is no regular expression: {error}")
            })?;
        }
        let patterns: Vec<String> = table
            .r#match
            .values()
            .map(|pattern| format!("(?:{pattern})"))
            .collect();
        let pattern = format!("^{}$", patterns.join(r"\x00"));
        Ok(Self {
            labels: table.r#match.into_keys().collect(),
            pattern: Regex::new(&pattern).map_err(|error| format!("match: {error}"))?,
            action,
        })
    }
}

fn can_be_set(name: &str) -> Result<(), String> {
    if name.is_empty() || label_name(name) != name {
        return Err(format!(
            "set.{name}: a label's name has letters, digits and _, and begins with no digit"
        ));
    }
    if name.starts_with("__") || FIXED.contains(&name) {
        return Err(format!(
            "set.{name}: the agent sets this label itself: choose another name"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Declared, Identity, Program};
    use super::*;

    fn rule(text: &str) -> Result<Rule, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// The labels of an executable, with two more.
    fn labels() -> Labels {
        let program = Program::Executable(b"/usr/bin/checkout-v2");
        let identity = Identity::of(None, program, &Declared::default());
        let mut labels = Labels::new(&identity, None, &LabelConfig::default());
        labels.set("namespace", "kube-system");
        labels.set("pod", "checkout-5d8f");
        labels
    }

    fn applied(text: &str) -> Option<Labels> {
        let config = LabelConfig {
            node: "host-1".to_owned(),
            ..LabelConfig::default()
        };
        labels().ruled(&[rule(text).unwrap()], &config)
    }

    /// A pattern is about the whole value, a label that is not there is empty, and the host's name is one of them.
    #[test]
    fn owners_are_kept_and_dropped() {
        for (text, is_kept) in [
            ("match = { namespace = 'kube-.*' }\naction = 'drop'", false),
            ("match = { namespace = 'kube' }\naction = 'drop'", true),
            (
                "match = { namespace = 'kube-.*', pod = 'other' }\naction = 'drop'",
                true,
            ),
            (
                "match = { namespace = 'kube-.*', pod = '.*' }\naction = 'drop'",
                false,
            ),
            ("match = { namespace = 'kube-.*' }\naction = 'keep'", true),
            ("match = { namespace = 'a|b' }\naction = 'keep'", false),
            ("match = { unit = '' }\naction = 'drop'", false),
            ("match = { unit = '.+' }\naction = 'keep'", false),
            ("match = { node = 'host-.' }\naction = 'keep'", true),
            (
                "match = { service_name = '(?i)CHECKOUT.*' }\naction = 'drop'",
                false,
            ),
        ] {
            assert_eq!(applied(text).is_some(), is_kept, "{text}");
        }
    }

    /// Groups of all patterns can be used; a value may be taken away, but not the service's name.
    #[test]
    fn labels_are_rewritten() {
        let labels = applied(
            "match = { service_name = '(?<name>.*)-v(?<major>\\d+)', pod = '(.*)-[^-]*' }\naction = 'set'\n\
             set = { service_name = '${name}', major = 'v${major}', namespace = '', of = '$1' }",
        );
        let (owner, _) = labels.unwrap().into_owner();
        let labels: Vec<_> = owner.labels().collect();
        assert_eq!(
            labels,
            [
                ("service_name", "checkout"),
                ("major", "v2"),
                ("of", "checkout"),
                ("pod", "checkout-5d8f")
            ]
        );
        let same = applied("action = 'set'\nset = { service_name = '$nothing' }").unwrap();
        assert_eq!(same.service_name, "checkout-v2");
    }

    /// What no rule can be is refused in a sentence that says what to write.
    #[test]
    fn wrong_rules_are_refused() {
        for (text, complaint) in [
            ("match = { pod = '(' }\naction = 'drop'", "match.pod"),
            ("match = { a = 'x)', b = '(y' }\naction = 'drop'", "match.a"),
            ("action = 'drop'", "without match"),
            ("match = { pod = 'x' }\naction = 'set'", "sets nothing"),
            (
                "match = { pod = 'x' }\naction = 'keep'\nset = { a = 'b' }",
                "leave out set",
            ),
            ("action = 'set'\nset = { __name__ = 'x' }", "set.__name__"),
            ("action = 'set'\nset = { node = 'x' }", "set.node"),
            ("action = 'set'\nset = { 'a.b' = 'x' }", "set.a.b"),
            ("action = 'explode'", "unknown variant"),
            ("actoin = 'drop'", "unknown field"),
        ] {
            let error = rule(text).unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
