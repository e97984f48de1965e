//! Gives what was added up by identity to owners, no more of them than there are places for.

use super::places::Places;
use super::tally::{IdentityTally, OwnerTally, Stacks};
use crate::owner::{Decision, Identity, Owner, Owners, Patience};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many owners there may be: a server keeps a series for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// So many within an hour, beside the one that stands for the rest.
    pub(crate) max_owners: usize,
    /// Each with at least this part of all CPU time of an interval.
    pub(crate) min_share: f64,
}

/// Owners that are folded into one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folded {
    /// With too little CPU time.
    small: HashSet<Arc<Owner>>,
    /// Those that found no place.
    surplus: HashSet<Arc<Owner>>,
}

/// What one owner has.
#[derive(Debug)]
struct Share {
    amount: u64,
    realm: Arc<str>,
    /// It may still turn out to be another, so it takes no place.
    waits: bool,
}

impl Folded {
    /// Of these the small ones, and those of the others for which `places` has none.
    fn of(shares: &HashMap<Arc<Owner>, Share>, min_share: f64, places: &mut Places) -> Self {
        let total: u64 = shares.values().map(|share| share.amount).sum();
        let floor = total as f64 * min_share;
        let (large, small): (Vec<_>, Vec<_>) = shares
            .iter()
            .partition(|(_, share)| share.amount as f64 >= floor);
        let mut settled: Vec<_> = large
            .into_iter()
            .filter(|(_, share)| !share.waits)
            .collect();
        // Equal ones by name, so that chance decides nothing.
        settled.sort_unstable_by_key(|(owner, share)| (Reverse(share.amount), *owner));
        let settled = settled
            .into_iter()
            .map(|(owner, share)| (owner, &share.realm));
        Self {
            small: small
                .into_iter()
                .map(|(owner, _)| Arc::clone(owner))
                .collect(),
            surplus: places.take(settled),
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

/// Gives the parts of `tally` to their owners as they are known now, as far as these have `min_share` and find places.
pub(super) fn assign(
    tally: IdentityTally,
    owners: &mut Owners,
    patience: Patience,
    min_share: f64,
    places: &mut Places,
) -> Assigned {
    let parts: Vec<Part> = tally
        .stacks
        .into_iter()
        .map(|(identity, stacks)| part(identity, stacks, owners, patience))
        .collect();
    let mut shares = HashMap::<Arc<Owner>, Share>::new();
    for part in &parts {
        if let Some(owner) = &part.owner {
            let share = shares.entry(Arc::clone(owner)).or_insert_with(|| Share {
                amount: 0,
                realm: part.identity.realm(),
                waits: true,
            });
            share.amount += part.amount;
            share.waits &= part.waits;
        }
    }
    let folded = Folded::of(&shares, min_share, places);
    if patience != Patience::Glance {
        owners.counts.folded_small += folded.small.len() as u64;
        owners.counts.folded_surplus += folded.surplus.len() as u64;
    }
    let other = Arc::new(Owner::other());
    let mut assigned = Assigned::default();
    assigned.owners.span = tally.span;
    assigned.waiting.span = tally.span;
    for part in parts {
        match part.owner {
            Some(owner) if folded.small.contains(&owner) => {
                assigned.owners.add_all(Arc::clone(&other), part.stacks);
            }
            _ if part.waits => assigned.waiting.add_all(part.identity, part.stacks),
            Some(owner) if folded.surplus.contains(&owner) => {
                assigned.owners.add_all(Arc::clone(&other), part.stacks);
            }
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

    /// Owners of containers of their own, with these amounts.
    fn shares(amounts: &[u64]) -> HashMap<Arc<Owner>, Share> {
        let owners = amounts.iter().enumerate().map(|(number, amount)| {
            let name = format!("o{number}");
            let share = Share {
                amount: *amount,
                realm: name.as_str().into(),
                waits: false,
            };
            (Arc::new(Owner::new(name, Vec::new())), share)
        });
        owners.collect()
    }

    fn folded(amounts: &[u64], min_share: f64, places: &mut Places) -> [Vec<String>; 2] {
        let folded = Folded::of(&shares(amounts), min_share, places);
        [folded.surplus, folded.small].map(|owners| {
            let mut names: Vec<String> = owners
                .iter()
                .map(|owner| owner.service_name.clone())
                .collect();
            names.sort_unstable();
            names
        })
    }

    const NONE: [&str; 0] = [];

    /// As many as there are places are left alone; of more, those with the least time find none. Who has a place keeps it when others have
    /// more time.
    #[test]
    fn the_largest_of_too_many_get_the_places() {
        let mut places = Places::new(2);
        assert_eq!(
            folded(&[5, 1, 4, 2], 0.0, &mut places),
            [vec!["o1", "o3"], vec![]]
        );
        assert_eq!(folded(&[1, 9, 1], 0.0, &mut places), [vec!["o1"], vec![]]);
        let equal = folded(&[1, 1, 1, 1], 0.0, &mut Places::new(2));
        assert_eq!(equal, [vec!["o2", "o3"], vec![]]);
    }

    /// What has less than its share is folded, whatever places there are, and takes none.
    #[test]
    fn small_shares_are_folded() {
        let mut places = Places::new(2);
        assert_eq!(folded(&[9, 91], 0.1, &mut places), [vec![], vec!["o0"]]);
        assert_eq!(
            folded(&[30, 50, 11, 9], 0.1, &mut places),
            [vec!["o2"], vec!["o3"]]
        );
        assert_eq!(folded(&[60, 30], 0.1, &mut places), [NONE, NONE]);
        assert_eq!(folded(&[], 0.1, &mut places), [NONE, NONE]);
    }
}
