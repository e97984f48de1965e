//! What a name from outside may look like in a profile.
//!
//! Names come from symbol tables, command names and paths of foreign programs. Two things about them are dealt with here,
//! for every string of a profile: their length, and control characters, which would break the lines of every tool that
//! prints the profile and speak to the terminal it prints to. A `;` is legal in a profile and stays: only the folded
//! writer, whose separator it is, replaces it.

use std::borrow::Cow;

/// Longest string of a profile, in bytes. Pyroscope cuts at 65,535 bytes, keeps the tail, and refuses the whole profile if
/// that cut falls into a character; names of 1 KiB are the longest that anyone reads.
pub(crate) const MAX_BYTES: usize = 1024;

const CUT: &str = "...";

/// `name` without control characters and of at most [`MAX_BYTES`]; a longer one keeps its beginning and ends in `...`.
pub(crate) fn clean(name: &str) -> Cow<'_, str> {
    // Nearly every name: a glance at its bytes settles it.
    if name.len() <= MAX_BYTES && name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Cow::Borrowed(name);
    }
    // Cut twice: a replacement is longer than what it replaces, and a name of gigabytes is not worth replacing in.
    let short = cut(name);
    let clean = without_control_characters(&short);
    Cow::Owned(cut(&clean).into_owned())
}

/// The last part of a path; of `[vdso]` and the like, all of it.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or(path)
}

/// `name` with each control character replaced by U+FFFD.
pub(crate) fn without_control_characters(name: &str) -> Cow<'_, str> {
    if name.contains(char::is_control) {
        return Cow::Owned(name.replace(char::is_control, "\u{fffd}"));
    }
    Cow::Borrowed(name)
}

fn cut(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_BYTES {
        return Cow::Borrowed(name);
    }
    let ends = (0..=MAX_BYTES - CUT.len()).rev();
    let kept = ends
        .filter_map(|end| name.get(..end))
        .next()
        .unwrap_or_default();
    Cow::Owned(format!("{kept}{CUT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ordinary name costs no copy.
    #[test]
    fn ordinary_names_are_borrowed() {
        let name = "core::ops::function::FnOnce<(), T>::call_once;";
        assert!(matches!(clean(name), Cow::Borrowed(same) if same == name));
        assert_eq!(clean("größe"), "größe");
    }

    /// Every length around the limit, with characters of one to four bytes: the result is short enough, a prefix of the
    /// name up to its `...`, and never cut inside a character (it would not be a `str`).
    #[test]
    fn long_names_are_cut_between_characters() {
        for unit in ["a", "é", "€", "🦀"] {
            for padding in 0..5 {
                let name = format!(
                    "{}{}",
                    "x".repeat(padding),
                    unit.repeat(600 + MAX_BYTES / unit.len())
                );
                let cut = clean(&name);
                assert!(
                    cut.len() <= MAX_BYTES && cut.len() > MAX_BYTES - 4,
                    "{}",
                    cut.len()
                );
                assert!(name.starts_with(cut.strip_suffix("...").unwrap()));
            }
        }
        let longest = "y".repeat(MAX_BYTES);
        assert_eq!(clean(&longest), longest);
        assert_eq!(clean(&format!("{longest}y")).len(), MAX_BYTES);
    }

    /// Newline, NUL, escape and C1 controls go; the limit holds although the replacement is longer.
    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(
            clean("a\nb\0c\u{1b}[2Jd\u{9b}e"),
            "a\u{fffd}b\u{fffd}c\u{fffd}[2Jd\u{fffd}e"
        );
        assert!(clean(&"\n".repeat(5000)).len() <= MAX_BYTES);
        assert!(clean(&"\n".repeat(MAX_BYTES)).len() <= MAX_BYTES);
    }

    /// Paths, bracketed names and nonsense.
    #[test]
    fn base_names() {
        assert_eq!(base_name("/usr/lib/libc.so.6"), "libc.so.6");
        assert_eq!(base_name("[vdso]"), "[vdso]");
        assert_eq!(base_name("/a/b/"), "b");
        assert_eq!(base_name("//"), "//");
        assert_eq!(base_name(""), "");
    }
}
