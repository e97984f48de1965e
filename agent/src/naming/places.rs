//! Which owners have profiles of their own. A server keeps a series for each, long after the container is gone that it was.

use crate::owner::Owner;
use crate::room::Room;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// An owner that is not seen for so long loses its place.
const KEPT: Duration = Duration::from_secs(3600);

/// The places that there are for owners.
///
/// An owner that has got one keeps it as long as it is seen at least once an hour, whatever else comes: its series does not stop because of
/// others. So in no hour there are more owners than places, however many containers come and go.
#[derive(Clone, Debug)]
pub(super) struct Places {
    room: Room,
    held: HashMap<Arc<Owner>, Place>,
    /// Time that was sampled so far. The wall clock may be set.
    now: Duration,
}

#[derive(Clone, Debug)]
struct Place {
    realm: Arc<str>,
    seen: Duration,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self {
            room: Room::new(count),
            held: HashMap::new(),
            now: Duration::ZERO,
        }
    }

    /// Time goes on.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
    }

    /// These owners are seen now, each with its realm. Those that are new take places, the first one first; returned are those that
    /// found none. No realm takes more places than are left: what runs in one can call itself as it likes.
    pub(super) fn take<'a>(
        &mut self,
        owners: impl Iterator<Item = (&'a Arc<Owner>, &'a Arc<str>)>,
    ) -> HashSet<Arc<Owner>> {
        let (held, new): (Vec<_>, Vec<_>) =
            owners.partition(|(owner, _)| self.held.contains_key(*owner));
        for (owner, _) in held {
            if let Some(place) = self.held.get_mut(owner) {
                place.seen = self.now;
            }
        }
        let expired = |place: &Place| self.now.saturating_sub(place.seen) > KEPT;
        for (_, place) in self.held.extract_if(|_, place| expired(place)) {
            self.room.give_back(&place.realm);
        }
        let mut surplus = HashSet::new();
        for (owner, realm) in new {
            if self.room.take(realm, 1) {
                let place = Place {
                    realm: Arc::clone(realm),
                    seen: self.now,
                };
                self.held.insert(Arc::clone(owner), place);
            } else {
                surplus.insert(Arc::clone(owner));
            }
        }
        surplus
    }

    /// Owners that have a place.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const INTERVAL: Duration = Duration::from_secs(15);
    const IN_AN_HOUR: usize = 240;

    fn owner(name: &str) -> Arc<Owner> {
        Arc::new(Owner::new(name.to_owned(), Vec::new()))
    }

    /// The next interval, in which these are seen; returned are those that have a place.
    fn interval(places: &mut Places, seen: &[(Arc<Owner>, &str)]) -> HashSet<Arc<Owner>> {
        places.pass(INTERVAL);
        let realms: Vec<Arc<str>> = seen.iter().map(|(_, realm)| Arc::from(*realm)).collect();
        let owners = seen.iter().map(|(owner, _)| owner);
        let surplus = places.take(owners.clone().zip(&realms));
        owners
            .filter(|owner| !surplus.contains(*owner))
            .cloned()
            .collect()
    }

    /// A day on a host with ten services, where a new container begins every minute and lives for ten: in no hour there are more owners than
    /// places, and nobody who has got one loses it while he is there.
    #[test]
    fn a_day_of_short_containers() {
        const PLACES: usize = 50;
        let mut places = Places::new(PLACES);
        let steady: Vec<Arc<Owner>> = (0..10)
            .map(|number| owner(&format!("service-{number}")))
            .collect();
        let (mut hour, mut day) = (VecDeque::new(), HashSet::new());
        for number in 0..24 * IN_AN_HOUR {
            let newest = number / 4;
            let names: Vec<String> = (newest.saturating_sub(9)..=newest)
                .map(|minute| format!("container-{minute}"))
                .collect();
            let short = names.iter().map(|name| (owner(name), name.as_str()));
            let long = steady.iter().map(|owner| (Arc::clone(owner), "unit"));
            let seen: Vec<_> = long.chain(short).collect();
            let before: HashSet<_> = hour.back().cloned().unwrap_or_default();
            let own = interval(&mut places, &seen);
            let stay = before
                .iter()
                .filter(|owner| seen.iter().any(|(there, _)| there == *owner));
            assert!(stay.clone().all(|owner| own.contains(owner)));
            assert!(steady.iter().all(|owner| own.contains(owner)));
            day.extend(own.iter().cloned());
            hour.push_back(own);
            if hour.len() > IN_AN_HOUR {
                hour.pop_front();
            }
            let distinct: HashSet<_> = hour.iter().flatten().collect();
            assert!(distinct.len() <= PLACES, "{} at {number}", distinct.len());
        }
        // Each place but those of the services is free again after an hour, so there are new names all day.
        assert!(
            (500..=24 * PLACES).contains(&day.len()),
            "{} in a day",
            day.len()
        );
    }

    /// The first come get the places; who is away for an hour has to come anew.
    #[test]
    fn places_are_kept_for_an_hour() {
        let mut places = Places::new(2);
        let [a, b, c] = ["a", "b", "c"].map(owner);
        let all = [(a.clone(), "a"), (b.clone(), "b"), (c.clone(), "c")];
        let first = HashSet::from([a.clone(), b.clone()]);
        assert_eq!(interval(&mut places, &all), first);
        for _ in 0..IN_AN_HOUR {
            assert_eq!(interval(&mut places, &all[1..]), HashSet::from([b.clone()]));
        }
        assert_eq!(
            interval(&mut places, &all[1..]),
            HashSet::from([b.clone(), c.clone()])
        );
        assert_eq!(interval(&mut places, &all), HashSet::from([b, c]));
    }

    /// A container in which every second process calls itself something new takes half of the places, and others find some.
    #[test]
    fn a_realm_leaves_places_for_others() {
        let mut places = Places::new(100);
        for number in 0..1000 {
            let made_up = owner(&format!("made-up-{number}"));
            interval(&mut places, &[(made_up, "hostile")]);
        }
        assert_eq!(places.held(), 50);
        let real: Vec<(Arc<Owner>, String)> = (0..40)
            .map(|number| (owner(&format!("real-{number}")), format!("unit-{number}")))
            .collect();
        let real: Vec<_> = real
            .iter()
            .map(|(owner, realm)| (Arc::clone(owner), realm.as_str()))
            .collect();
        assert_eq!(interval(&mut places, &real).len(), 40);
    }
}
