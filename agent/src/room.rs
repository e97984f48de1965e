//! Room for so many things, of which nobody who takes it can leave nothing for the others.

use std::collections::HashMap;
use std::sync::Arc;

/// Room for a number of things, by who has taken how much of it.
///
/// Nobody gets more than a part of what is left then: the dynamic thresholds by which switches share the memory of their ports. Of those
/// who want as much as there is, the first has a half of it all (with a part of 1), the second a quarter, and there is still room for
/// who comes next.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    free: usize,
    taken: HashMap<Arc<str>, usize>,
}

impl Room {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            free: size,
            taken: HashMap::new(),
        }
    }

    /// Takes room for one thing. False if there is none, or if `who` would have more than one in `parts` of what is left.
    pub(crate) fn take(&mut self, who: &Arc<str>, parts: usize) -> bool {
        let has = self.taken.get(who).copied().unwrap_or_default();
        if (has + 1).saturating_mul(parts) > self.free {
            return false;
        }
        self.free -= 1;
        *self.taken.entry(Arc::clone(who)).or_default() += 1;
        true
    }

    /// Gives back what `who` has taken for one thing.
    pub(crate) fn give_back(&mut self, who: &Arc<str>) {
        if let Some(has) = self.taken.get_mut(who) {
            *has -= 1;
            self.free += 1;
            if *has == 0 {
                self.taken.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(room: &mut Room, who: &str, parts: usize) -> usize {
        let who = Arc::from(who);
        (0..10_000).take_while(|_| room.take(&who, parts)).count()
    }

    /// Who asks for everything gets half of what is left, and who comes then half of that; what is given back is there again.
    #[test]
    fn nobody_takes_all() {
        let mut room = Room::new(100);
        assert_eq!(fill(&mut room, "a", 1), 50);
        assert_eq!(fill(&mut room, "b", 1), 25);
        assert_eq!(fill(&mut room, "a", 1), 0);
        assert_eq!(fill(&mut room, "c", 8), 2);
        for _ in 0..50 {
            room.give_back(&"a".into());
        }
        room.give_back(&"nobody".into());
        assert_eq!(room.free, 73);
        assert_eq!(fill(&mut room, "d", 1), 37);
    }

    /// Many who want one each can have it all.
    #[test]
    fn all_of_it_can_be_taken() {
        let mut room = Room::new(10);
        let taken = (0..20).filter(|number| room.take(&number.to_string().into(), 1));
        assert_eq!(taken.count(), 10);
    }
}
