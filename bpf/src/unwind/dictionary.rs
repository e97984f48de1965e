//! Numbers for the rules of one file.

use super::rule::{Packed, Rule, Unsupported};
use crate::skeleton::types::unwind_limits;
use std::collections::HashMap;

/// What a row can number.
pub(super) const MAX_RULES: usize = unwind_limits::MAX_RULES.0 as usize;
// A file with more rules than a row can number is encoded a second time, with the most frequent of them. Compilers write a
// few hundred, so a file with more than these is made up, and which of its rules are the most frequent matters to nobody.
const MOST_COUNTED: usize = 4 * MAX_RULES;
const CACHE_BITS: u32 = 9;

/// Rules by number and numbers by rule, with how often each was asked for.
pub(super) struct Dictionary {
    numbers: HashMap<Packed, u16>,
    rules: Vec<Packed>,
    counts: Vec<u32>,
    /// Rules asked for not long ago: a look that costs a nanosecond.
    cache: Vec<(Packed, u16)>,
    most: usize,
}

impl Dictionary {
    const TOO_MANY: u16 = 0;

    /// Takes every rule it is asked for.
    pub(super) fn growing() -> Self {
        let mut dictionary = Self {
            numbers: HashMap::new(),
            rules: Vec::new(),
            counts: Vec::new(),
            cache: Vec::new(),
            most: MOST_COUNTED,
        };
        let too_many_rules = Rule::Unsupported(Unsupported::TooManyRules).into();
        let too_many = dictionary.add(too_many_rules);
        dictionary.cache = vec![(too_many_rules, too_many); 1 << CACHE_BITS];
        dictionary
    }

    /// Takes the most frequent rules that fit a row of `counted`, and the others as [`Unsupported::TooManyRules`]; those
    /// without which a walk would not know where to end in any case.
    pub(super) fn of_most_frequent(counted: &Self) -> Self {
        let mut dictionary = Self::growing();
        for rule in [Rule::None, Rule::End, Rule::Signal, Rule::Switch] {
            dictionary.add(rule.into());
        }
        let frequent = counted.by_frequency();
        for rule in frequent
            .into_iter()
            .filter_map(|number| counted.rule(number))
        {
            if dictionary.rules.len() < MAX_RULES && !dictionary.numbers.contains_key(&rule) {
                dictionary.add(rule);
            }
        }
        dictionary.most = dictionary.rules.len();
        dictionary
    }

    fn add(&mut self, rule: Packed) -> u16 {
        // There are at most MOST_COUNTED.
        let number = self.rules.len() as u16;
        self.rules.push(rule);
        self.counts.push(0);
        self.numbers.insert(rule, number);
        number
    }

    /// The number of a rule, which counts as one use of it.
    #[inline]
    pub(super) fn number(&mut self, rule: Packed) -> u16 {
        // Fibonacci hashing.
        let slot = (rule.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - CACHE_BITS)) as usize;
        let number = match self.cache.get(slot) {
            Some(&(cached, number)) if cached == rule => number,
            _ => self.find(rule, slot),
        };
        if let Some(count) = self.counts.get_mut(usize::from(number)) {
            *count = count.saturating_add(1);
        }
        number
    }

    fn find(&mut self, rule: Packed, slot: usize) -> u16 {
        let number = match self.numbers.get(&rule) {
            Some(&number) => number,
            None if self.rules.len() < self.most => self.add(rule),
            None => Self::TOO_MANY,
        };
        if let Some(cached) = self.cache.get_mut(slot) {
            *cached = (rule, number);
        }
        number
    }

    pub(super) fn rule(&self, number: u16) -> Option<Packed> {
        self.rules.get(usize::from(number)).copied()
    }

    /// Numbers of the rules that were asked for, most frequent first.
    pub(super) fn by_frequency(&self) -> Vec<u16> {
        let count = |number: &u16| self.counts.get(usize::from(*number)).copied().unwrap_or(0);
        let mut numbers: Vec<u16> = (0..self.rules.len() as u16)
            .filter(|number| count(number) > 0)
            .collect();
        numbers.sort_by_key(|number| std::cmp::Reverse(count(number)));
        numbers
    }

    /// Whether there are more rules than a row can number.
    pub(super) fn overflowed(&self) -> bool {
        self.rules.len() > MAX_RULES
    }
}
