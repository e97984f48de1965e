//! Gives what was added up by identity to owners, no more of them than there may be.

use super::tally::{IdentityTally, OwnerTally, Stacks};
use crate::owner::{Decision, Identity, Owner, Owners, Patience};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many owners there may be: a server keeps a series for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// So many at a time, with the one that stands for the rest.
    pub(crate) max_owners: usize,
    /// Each with at least this part of all CPU time.
    pub(crate) min_share: f64,
}

/// Owners that are folded into one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folded {
    /// With too little CPU time.
    small: HashSet<Arc<Owner>>,
    /// Those with the least of too many.
    surplus: HashSet<Arc<Owner>>,
}

impl Bounds {
    fn folded(&self, shares: &HashMap<Arc<Owner>, u64>) -> Folded {
        let total: u64 = shares.values().sum();
        let floor = total as f64 * self.min_share;
        let mut ranked: Vec<(Reverse<u64>, &Arc<Owner>)> = shares
            .iter()
            .map(|(owner, amount)| (Reverse(*amount), owner))
            .collect();
        // Equal ones by name, so that they do not take turns.
        ranked.sort_unstable();
        let is_large = |(Reverse(amount), _): &(Reverse<u64>, _)| *amount as f64 >= floor;
        let (large, small): (Vec<_>, Vec<_>) = ranked.into_iter().partition(is_large);
        let is_bounded = small.is_empty() && large.len() <= self.max_owners;
        let room = if is_bounded {
            large.len()
        } else {
            self.max_owners.saturating_sub(1)
        };
        let owners = |ranked: &[(Reverse<u64>, &Arc<Owner>)]| {
            ranked.iter().map(|(_, owner)| Arc::clone(owner)).collect()
        };
        Folded {
            small: owners(&small),
            surplus: owners(large.get(room..).unwrap_or_default()),
        }
    }
}

/// What became of a tally.
#[derive(Default)]
pub(super) struct Assigned {
    pub(super) owners: OwnerTally,
    /// Of containers of which it is not known yet what they are.
    pub(super) waiting: IdentityTally,
    /// Amount that a rule wants dropped.
    pub(super) dropped: u64,
}

/// What was added up for one identity.
struct Part {
    identity: Arc<Identity>,
    owner: Option<Arc<Owner>>,
    waits: bool,
    stacks: Stacks,
    amount: u64,
}

/// Gives the parts of `tally` to their owners as they are known now.
pub(super) fn assign(
    tally: IdentityTally,
    owners: &mut Owners,
    patience: Patience,
    bounds: Option<Bounds>,
) -> Assigned {
    let parts: Vec<Part> = tally
        .stacks
        .into_iter()
        .map(|(identity, stacks)| part(identity, stacks, owners, patience))
        .collect();
    let mut shares = HashMap::<Arc<Owner>, u64>::new();
    for part in &parts {
        if let Some(owner) = &part.owner {
            *shares.entry(Arc::clone(owner)).or_default() += part.amount;
        }
    }
    let folded = bounds.map_or_else(Folded::default, |bounds| bounds.folded(&shares));
    if patience != Patience::Glance {
        owners.counts.folded_small += folded.small.len() as u64;
        owners.counts.folded_surplus += folded.surplus.len() as u64;
    }
    let other = Arc::new(Owner::other());
    let mut assigned = Assigned::default();
    assigned.owners.span = tally.span;
    assigned.waiting.span = tally.span;
    for part in parts {
        let is_folded =
            |owner: &Arc<Owner>| folded.small.contains(owner) || folded.surplus.contains(owner);
        match part.owner {
            Some(owner) if is_folded(&owner) => {
                assigned.owners.add_all(Arc::clone(&other), part.stacks);
            }
            _ if part.waits => assigned.waiting.add_all(part.identity, part.stacks),
            Some(owner) => assigned.owners.add_all(owner, part.stacks),
            None => assigned.dropped += part.amount,
        }
    }
    for stack in assigned.waiting.stacks.values().flat_map(Stacks::keys) {
        for word in stack.iter() {
            if let Some(name) = tally.names.get(word) {
                assigned.waiting.names.insert(*word, Arc::clone(name));
            }
        }
    }
    assigned.owners.names = tally.names;
    assigned
}

fn part(identity: Arc<Identity>, stacks: Stacks, owners: &mut Owners, patience: Patience) -> Part {
    let identity = identity.settled();
    let (owner, waits) = match owners.of(&identity, patience) {
        Decision::Final(owner) => (owner, false),
        Decision::Waits(owner) => (owner, patience == Patience::Wait),
    };
    let amount = stacks.values().map(|sums| sums.amount).sum();
    Part {
        identity,
        owner,
        waits,
        stacks,
        amount,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(amounts: &[u64]) -> HashMap<Arc<Owner>, u64> {
        let owners = amounts.iter().enumerate().map(|(number, amount)| {
            let owner = Owner::new(format!("o{number}"), Vec::new());
            (Arc::new(owner), *amount)
        });
        owners.collect()
    }

    fn names(owners: &HashSet<Arc<Owner>>) -> Vec<&str> {
        let mut names: Vec<&str> = owners
            .iter()
            .map(|owner| owner.service_name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    /// As many as there may be are left alone; of one more the two with the least time are one.
    #[test]
    fn the_smallest_of_too_many_are_folded() {
        let bounds = Bounds {
            max_owners: 3,
            min_share: 0.0,
        };
        assert_eq!(bounds.folded(&shares(&[5, 1, 4])), Folded::default());
        let folded = bounds.folded(&shares(&[5, 1, 4, 2]));
        assert_eq!(
            (names(&folded.surplus), names(&folded.small)),
            (vec!["o1", "o3"], vec![])
        );
        let equal = bounds.folded(&shares(&[1, 1, 1, 1]));
        assert_eq!(names(&equal.surplus), ["o2", "o3"]);
    }

    /// What has less than its share is folded, whatever room there is; the one that it is folded into needs room too.
    #[test]
    fn small_shares_are_folded() {
        let bounds = Bounds {
            max_owners: 3,
            min_share: 0.1,
        };
        let folded = bounds.folded(&shares(&[50, 30, 11, 9]));
        assert_eq!(
            (names(&folded.small), names(&folded.surplus)),
            (vec!["o3"], vec!["o2"])
        );
        assert_eq!(bounds.folded(&shares(&[60, 30, 10])), Folded::default());
        assert_eq!(bounds.folded(&shares(&[])), Folded::default());
    }
}
