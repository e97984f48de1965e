//! Mangled symbol names of C++ and Rust made readable.
//!
//! blazesym can do this too, but then the raw name is lost, and it offers every name to a parser that also reads bare types: the
//! C function `f` becomes `float`. Here a name must begin as its scheme says.

use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, Symbol};

/// Longest name in bytes, raw or demangled. A mangled name of a hundred bytes can refer back to its own parts so often that it
/// unfolds to gigabytes; and of a file whose names are all this long, a window asks for thousands.
pub(crate) const LONGEST: usize = 4 * 1024;
/// At the end of a name that was cut.
const CUT: &str = "...";
/// Longest text of a frame in bytes.
pub(crate) const LONGEST_SHOWN: usize = LONGEST + CUT.len();

/// The readable form of a mangled name, if it is one and its readable form is not beyond measure.
pub(crate) fn demangle(raw: &str) -> Option<String> {
    if raw.len() > LONGEST || !is_mangled(raw) {
        return None;
    }
    let mut name = Bounded(String::with_capacity(2 * raw.len()));
    // Rust's older scheme is C++'s with a hash at the end: it has to be asked first.
    let written = match rustc_demangle::try_demangle(raw) {
        Ok(symbol) => write!(name, "{symbol:#}"),
        Err(_) => Symbol::new(raw)
            .ok()?
            .structured_demangle(&mut name, &DemangleOptions::new()),
    };
    written.is_ok().then_some(name.0)
}

/// Whether a name begins like one that C++ or Rust has mangled.
pub(crate) fn is_mangled(raw: &str) -> bool {
    ["_Z", "_R", "__Z", "_GLOBAL_"]
        .iter()
        .any(|prefix| raw.starts_with(prefix))
}

/// `raw`, cut at a character's end and marked as cut if it is beyond measure.
pub(crate) fn bounded(raw: &str) -> std::borrow::Cow<'_, str> {
    if raw.len() <= LONGEST {
        return raw.into();
    }
    let end = (0..=LONGEST)
        .rev()
        .find(|&end| raw.is_char_boundary(end))
        .unwrap_or(0);
    format!("{}{CUT}", raw.get(..end).unwrap_or_default()).into()
}

/// A string that refuses to grow beyond [`LONGEST`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of each scheme, with the readings of `c++filt` and `rustfilt`.
    #[test]
    fn readings() {
        for (raw, name) in [
            ("_ZN5space3fooEibc", Some("space::foo(int, bool, char)")),
            (
                "_ZNSt6vectorIiSaIiEE9push_backERKi",
                Some("std::vector<int, std::allocator<int> >::push_back(int const&)"),
            ),
            (
                "_ZN4core3ptr13drop_in_place17h0123456789abcdefE",
                Some("core::ptr::drop_in_place"),
            ),
            (
                "_RNvCskwGfYPst2Cb_3foo16example_function",
                Some("foo::example_function"),
            ),
            (
                "_GLOBAL__I__Z3foov",
                Some("global constructors keyed to foo()"),
            ),
            ("main", None),
            ("f", None),
            ("_Znot_a_name", None),
            ("_R", None),
            ("", None),
        ] {
            assert_eq!(demangle(raw).as_deref(), name, "{raw}");
        }
    }

    /// A short name whose parts double at every step ends as itself, not as memory exhaustion.
    #[test]
    fn a_name_that_unfolds_without_end_is_refused() {
        // f<pair<int, int>, pair<that, that>, ...>: S0_ is `pair`, S1_ the first pair, S2_ the pair of that, and so on.
        let mut raw = String::from("_Z1fI4pairIiiE");
        for step in (b'1'..=b'9').chain(b'A'..=b'Z').map(char::from) {
            raw.push_str(&format!("S0_IS{step}_S{step}_E"));
        }
        raw.push_str("EvT_");
        assert!(Symbol::new(&raw).is_ok());
        assert_eq!(demangle(&raw), None);
    }

    /// A raw name beyond measure is cut between characters and says so.
    #[test]
    fn an_endless_raw_name_is_cut() {
        let raw = "ä".repeat(LONGEST);
        let cut = bounded(&raw);
        assert!(cut.len() <= LONGEST + 3 && cut.ends_with("ä..."));
        assert_eq!(demangle(&raw), None);
    }
}
