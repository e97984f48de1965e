//! Rules of the configuration that keep, drop and rewrite owners by their labels.

use super::label::label_name;
use super::labels::{LabelConfig, Labels};
use super::template::Template;
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the agent sets itself.
const FIXED: [&str; 2] = ["node", "profiler"];

/// A table `[[rule]]` of the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Table")]
pub(crate) struct Rule {
    /// Labels and what the whole of their values matches, in the order of their names: so groups of all of them can be used in what
    /// is set.
    conditions: Vec<(String, Regex)>,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Keep,
    Drop,
    Set(BTreeMap<String, Template>),
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
        let values: Vec<String> = self
            .conditions
            .iter()
            .map(|(name, _)| labels.get(name, config).to_owned())
            .collect();
        let matches = self.conditions.iter().zip(&values);
        let matches: Option<Vec<_>> = matches
            .map(|((_, pattern), value)| pattern.captures(value))
            .collect();
        match (&self.action, matches) {
            (Action::Keep, matches) => matches.is_some(),
            (Action::Drop, matches) => matches.is_none(),
            (Action::Set(set), Some(matches)) => {
                for (name, template) in set {
                    labels.set(name, &template.expand(&matches));
                }
                true
            }
            (Action::Set(_), None) => true,
        }
    }
}

impl TryFrom<Table> for Rule {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        let conditions = table.r#match.into_iter().map(condition);
        let conditions: Vec<(String, Regex)> = conditions.collect::<Result<_, _>>()?;
        let action = match table.action {
            ActionName::Set if table.set.is_empty() => {
                return Err(
                    "action \"set\" sets nothing: write set = { label = \"value\" }".to_owned(),
                );
            }
            ActionName::Set => Action::Set(templates(&table.set, &conditions)?),
            _ if !table.set.is_empty() => {
                return Err("a rule sets labels or keeps or drops owners: leave out set, or write action = \"set\"".to_owned());
            }
            _ if conditions.is_empty() => {
                return Err("without match the rule is about every owner: write match = { label = \"pattern\" }".to_owned());
            }
            ActionName::Keep => Action::Keep,
            ActionName::Drop => Action::Drop,
        };
        Ok(Self { conditions, action })
    }
}

fn condition((label, pattern): (String, String)) -> Result<(String, Regex), String> {
    match Regex::new(&format!("^(?:{pattern})$")) {
        Ok(regex) => Ok((label, regex)),
        Err(error) => Err(format!(
            "match.{label}: {pattern:?} is no regular expression: {error}"
        )),
    }
}

fn templates(
    set: &BTreeMap<String, String>,
    conditions: &[(String, Regex)],
) -> Result<BTreeMap<String, Template>, String> {
    let patterns: Vec<&Regex> = conditions.iter().map(|(_, pattern)| pattern).collect();
    set.iter()
        .map(|(name, value)| {
            can_be_set(name)?;
            let template = Template::new(value, &patterns)
                .map_err(|error| format!("set.{name}: {value:?}: {error}"))?;
            Ok((name.clone(), template))
        })
        .collect()
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
                "match = { namespace = '^kube-.*$', pod = '^checkout-.*$' }\naction = 'drop'",
                false,
            ),
            (
                "match = { namespace = '[^x]*', pod = '\\Acheckout-.*\\z' }\naction = 'drop'",
                false,
            ),
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
        let same = applied("action = 'set'\nset = { service_name = '' }").unwrap();
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
            (
                "match = { pod = '(.*)' }\naction = 'set'\nset = { a = '$1_x' }",
                "no group \"1_x\"",
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
