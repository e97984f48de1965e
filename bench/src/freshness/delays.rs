//! A histogram of the agent's of how long walks had to wait, as it shows it on /metrics.

/// The metric. Its label `of` says what was waited for.
const METRIC: &str = "thermograph_publish_delay_seconds_bucket{";

/// How many waited at most how long.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delays {
    /// Seconds, rising, and how many waited no longer.
    buckets: Vec<(f64, u64)>,
}

impl Delays {
    /// Reads those with the label `of`.
    pub(crate) fn read(metrics: &str, of: &str) -> Delays {
        let label = format!("of=\"{of}\"");
        let buckets = metrics.lines().filter_map(|line| {
            let (labels, count) = line.strip_prefix(METRIC)?.split_once("} ")?;
            let is_of = labels.split(',').any(|known| known == label);
            let mut labels = labels.split(',');
            let bound = labels.find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"'))?;
            Some((bound.parse().ok()?, count.parse().ok()?)).filter(|_| is_of)
        });
        Delays {
            buckets: buckets.collect(),
        }
    }

    /// What was added since `earlier`.
    pub(crate) fn since(&self, earlier: &Delays) -> Delays {
        let earlier = earlier.buckets.iter().map(|(_, count)| *count);
        let both = self.buckets.iter().zip(earlier.chain(std::iter::repeat(0)));
        Delays {
            buckets: both
                .map(|((bound, count), earlier)| (*bound, count.saturating_sub(earlier)))
                .collect(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// The least bound in seconds that so large a part of them did not exceed; NaN where there are none.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let wanted = self.count() as f64 * part;
        let mut buckets = self.buckets.iter();
        let bucket = buckets.find(|(_, count)| *count > 0 && *count as f64 >= wanted);
        bucket.map_or(f64::NAN, |(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles are bounds of what was added, of one label, and there are none of nothing.
    #[test]
    fn quantiles_of_a_difference() {
        let text = |counts: [u64; 3]| {
            let [first, second, third] = counts;
            format!(
                "# TYPE thermograph_publish_delay_seconds histogram\n\
                 thermograph_publish_delay_seconds_sum{{of=\"program\"}} 7.5\n\
                 thermograph_publish_delay_seconds_bucket{{le=\"0.001\",of=\"program\"}} {first}\n\
                 thermograph_publish_delay_seconds_bucket{{le=\"0.002\",of=\"program\"}} {second}\n\
                 thermograph_publish_delay_seconds_bucket{{le=\"+Inf\",of=\"program\"}} {third}\n\
                 thermograph_publish_delay_seconds_bucket{{le=\"+Inf\",of=\"table\"}} 9\n"
            )
        };
        let read = |counts| Delays::read(&text(counts), "program");
        let delays = read([5, 14, 15]).since(&read([5, 5, 5]));
        assert_eq!(delays.count(), 10);
        assert_eq!(delays.quantile(0.5), 0.002);
        assert_eq!(delays.quantile(0.9), 0.002);
        assert_eq!(delays.quantile(0.99), f64::INFINITY);
        let none = read([5, 5, 5]).since(&read([5, 5, 5]));
        assert!(none.count() == 0 && none.quantile(0.5).is_nan());
    }
}
