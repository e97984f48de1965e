//! Text in which `$1` and `${name}` are groups of regular expressions.

use regex_lite::{Captures, Regex};

/// What a label is set to.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// A group of one of the expressions, by the numbers of both.
    Group(usize, usize),
}

impl Template {
    /// Reads `text`. Groups are numbered through in the order of `patterns`; one that none of them has is refused: it would always
    /// be empty.
    pub(super) fn new(text: &str, patterns: &[&Regex]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            parts.push(Part::Text(before.to_owned()));
            if let Some(literal) = after.strip_prefix('$') {
                parts.push(Part::Text("$".to_owned()));
                rest = literal;
                continue;
            }
            let name;
            (name, rest) = reference(after)
                .ok_or("write $1 or ${name} for a group, and $$ for the character")?;
            parts.push(group(name, patterns).ok_or_else(|| {
                format!("match has no group {name:?}: text behind a group is told apart by braces, as in ${{1}}_x")
            })?);
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The text for what each of the expressions has matched.
    pub(super) fn expand(&self, matches: &[Captures<'_>]) -> String {
        let text = |part| match part {
            &Part::Group(pattern, group) => matches
                .get(pattern)
                .and_then(|captures: &Captures<'_>| captures.get(group))
                .map_or("", |group| group.as_str()),
            Part::Text(text) => text,
        };
        self.0.iter().map(text).collect()
    }
}

/// Splits the name of a group from what is behind it.
fn reference(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}');
    }
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let (name, rest) = text.split_at(text.find(is_end).unwrap_or(text.len()));
    (!name.is_empty()).then_some((name, rest))
}

fn group(name: &str, patterns: &[&Regex]) -> Option<Part> {
    // Group 0 of each is all that it matches.
    let mut groups = patterns.iter().enumerate().flat_map(|(at, pattern)| {
        let names = pattern.capture_names().enumerate().skip(1);
        names.map(move |(group, name)| (Part::Group(at, group), name))
    });
    match name.parse::<usize>() {
        Ok(number) => groups.nth(number.checked_sub(1)?).map(|(part, _)| part),
        Err(_) => groups
            .find(|(_, known)| *known == Some(name))
            .map(|(part, _)| part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms of references, by what the syntax of regular expression libraries makes of them.
    #[test]
    fn groups_are_put_in() {
        let patterns = ["(?<a>.)(.)", "x", "(?<b>y)?(z)"].map(|text| Regex::new(text).unwrap());
        let patterns: Vec<&Regex> = patterns.iter().collect();
        let matches: Vec<Captures<'_>> = patterns
            .iter()
            .zip(["pq", "x", "z"])
            .map(|(pattern, value)| pattern.captures(value).unwrap())
            .collect();
        for (text, value) in [
            ("", Some("")),
            ("$1-$2-$4", Some("p-q-z")),
            ("${a}_x$b.", Some("p_x.")),
            ("$$1 5$$", Some("$1 5$")),
            ("$1_x", None),
            ("$0", None),
            ("$5", None),
            ("${c}", None),
            ("5$", None),
            ("${a", None),
        ] {
            let expanded = Template::new(text, &patterns).map(|known| known.expand(&matches));
            assert_eq!(expanded.ok().as_deref(), value, "{text}");
        }
    }
}
