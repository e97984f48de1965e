//! The median of several measurements, and how far they are apart.

/// Of some numbers; all NaN where there are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(numbers: impl Iterator<Item = f64>) -> Spread {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_by(f64::total_cmp);
        let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
        let last = numbers.len().saturating_sub(1);
        Spread {
            median: (at(last / 2) + at(last.div_ceil(2))) / 2.0,
            least: at(0),
            most: at(last),
        }
    }

    /// `median (least to most)`, `-` where there is nothing.
    pub(crate) fn text(self, digits: usize) -> String {
        let Spread { least, most, .. } = self;
        match self.median.is_finite() {
            true => format!(
                "{} ({least:.digits$} to {most:.digits$})",
                self.median_text(digits)
            ),
            false => "-".to_owned(),
        }
    }

    /// The median alone.
    pub(crate) fn median_text(self, digits: usize) -> String {
        match self.median.is_finite() {
            true => format!("{:.digits$}", self.median),
            false => "-".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an even number the median lies between the two in the middle, and nothing is shown of nothing.
    #[test]
    fn medians() {
        let text = |numbers: &[f64]| Spread::of(numbers.iter().copied()).text(1);
        assert_eq!(text(&[3.0, 1.0, 2.0]), "2.0 (1.0 to 3.0)");
        assert_eq!(text(&[4.0, 1.0, 2.0, 3.0]), "2.5 (1.0 to 4.0)");
        assert_eq!(text(&[]), "-");
    }
}
