//! Profiles by owner: of each window at once, of each interval when it is over, and of a container that is still being asked for
//! when that is known, an interval later at the latest.

use super::assign::{Assigned, Bounds, assign};
use super::encode::{OwnerProfiles, owner_profiles};
use super::names::{Names, keep};
use super::places::Places;
use super::tally::{IdentityTally, OwnerTally, Span};
use super::trouble::NamingTrouble;
use crate::owner::{Owners, Patience};
use crate::profile::{OwnerProfile, Profiles};
use crate::sampling::Window;
use std::sync::Arc;

/// Profiles by owner that are ready.
pub(crate) enum Delivery {
    /// A window is over. Its profiles are left out if its interval is over with it.
    Window {
        /// When, and for how long.
        span: Span,
        /// Samples lost in it.
        lost: u64,
        /// What it has counted, by what is known of its owners at the moment.
        profiles: Profiles,
    },
    /// An interval is over, and its names are looked for.
    Closing {
        /// What it has counted, by what is known of owners and names at the moment: to be kept until others come in its place.
        provisional: Vec<Arc<OwnerProfile>>,
    },
    /// An interval is over: its profiles take the place of those of its windows.
    Interval {
        /// When, and for how long.
        span: Span,
        /// What its windows have counted.
        profiles: Vec<Arc<OwnerProfile>>,
        /// The rest, by what is known of its owners at the moment: to be looked at, and to be kept until others come in its place.
        provisional: Vec<Arc<OwnerProfile>>,
    },
    /// Owners of an interval that was over before have become known.
    Late {
        /// That interval.
        span: Span,
        /// What it has counted for them.
        profiles: Vec<Arc<OwnerProfile>>,
        /// The rest that is not known yet.
        provisional: Vec<Arc<OwnerProfile>>,
        /// Its provisional profiles, in whose place these come.
        instead_of: Vec<Arc<OwnerProfile>>,
    },
}

/// Takes what is ready, without making the assembler wait.
pub(crate) type Deliver = Box<dyn FnMut(Delivery) + Send>;

/// Whether somebody keeps what is provisional now.
pub(crate) type IsKept = Box<dyn Fn() -> bool + Send>;

/// The interval under way, and what waits of the one before.
pub(crate) struct Intervals {
    period: u64,
    owners: Owners,
    min_share: f64,
    places: Places,
    deliver: Deliver,
    is_kept: IsKept,
    current: IdentityTally,
    held: Option<Held>,
    /// Profiles that were left out.
    unsound: u64,
}

/// What waits for runtimes to say what its containers are.
struct Held {
    tally: IdentityTally,
    /// How it looks meanwhile.
    shown: Vec<Arc<OwnerProfile>>,
}

impl Intervals {
    /// Nothing has been counted yet. `period` is the CPU time of one sample in nanoseconds.
    pub(crate) fn new(
        owners: Owners,
        bounds: Bounds,
        period: u64,
        deliver: Deliver,
        is_kept: IsKept,
    ) -> Self {
        Self {
            period,
            owners,
            min_share: bounds.min_share,
            places: Places::new(bounds.max_owners),
            deliver,
            is_kept,
            current: IdentityTally::default(),
            held: None,
            unsound: 0,
        }
    }

    /// Says what has gone wrong since the start.
    pub(super) fn tell(&self, trouble: &mut NamingTrouble) {
        trouble.owners = self.owners.counts;
        trouble.owners.placed = self.places.held() as u64;
        trouble.unsound = self.unsound;
    }

    /// Whether intervals are announced.
    pub(super) fn is_announced(&self) -> bool {
        (self.is_kept)()
    }

    /// Delivers the interval that ends with `window` before that is added, by the names that are `known`.
    pub(super) fn announce(&mut self, window: &Window, known: Names) {
        // It has waited for an interval, and does not wait for names.
        self.release(Patience::Over);
        let mut tally = self.current.clone();
        tally.add_window(window);
        for (word, name) in &known {
            keep(&mut tally.names, *word, name);
        }
        let seeming = self.glance(tally, self.min_share);
        let provisional = owner_profiles(&seeming, self.period).profiles;
        (self.deliver)(Delivery::Closing { provisional });
    }

    /// Adds a window whose words have these names.
    pub(super) fn add(&mut self, window: &Window, names: Names) {
        let mut tally = IdentityTally {
            names,
            ..IdentityTally::default()
        };
        tally.add_window(window);
        self.current.add_window(window);
        for (word, name) in &tally.names {
            keep(&mut self.current.names, *word, name);
        }
        self.places.pass(window.duration);
        self.deliver_window(window, tally);
        if window.closes_interval {
            self.end_interval(Patience::Wait);
        } else {
            self.release(Patience::Wait);
        }
    }

    /// Nothing more comes: what is left goes out by what is known now.
    pub(super) fn end(&mut self) {
        self.end_interval(Patience::Over);
    }

    fn deliver_window(&mut self, window: &Window, tally: IdentityTally) {
        let Some(span) = tally.span else {
            return;
        };
        let profiles = if window.closes_interval {
            Profiles::default()
        } else {
            counted(self.glance(tally, self.min_share), self.period)
        };
        (self.deliver)(Delivery::Window {
            span,
            lost: window.counters.ticks_lost + window.counters.counts_full,
            profiles,
        });
    }

    fn end_interval(&mut self, patience: Patience) {
        // It has waited for an interval.
        self.release(Patience::Over);
        let tally = std::mem::take(&mut self.current);
        let Some(span) = tally.span else {
            return;
        };
        let assigned = self.assign(tally, patience, self.min_share);
        let profiles = self.encode(&assigned.owners);
        let provisional = self.hold(assigned.waiting);
        (self.deliver)(Delivery::Interval {
            span,
            profiles,
            provisional,
        });
    }

    /// Lets go of what has become known of that which waits.
    fn release(&mut self, patience: Patience) {
        let Some(held) = self.held.take() else {
            return;
        };
        let Some(span) = held.tally.span else {
            return;
        };
        let waited = held.tally.stacks.len();
        // Which owners are too small was decided when the interval was over.
        let assigned = self.assign(held.tally, patience, 0.0);
        if assigned.waiting.stacks.len() == waited {
            self.held = Some(Held {
                tally: assigned.waiting,
                shown: held.shown,
            });
            return;
        }
        let profiles = self.encode(&assigned.owners);
        let provisional = self.hold(assigned.waiting);
        (self.deliver)(Delivery::Late {
            span,
            profiles,
            provisional,
            instead_of: held.shown,
        });
    }

    fn assign(&mut self, tally: IdentityTally, patience: Patience, min_share: f64) -> Assigned {
        let before = self.owners.counts.folded_surplus;
        let (owners, places) = (&mut self.owners, &mut self.places);
        let assigned = assign(tally, owners, patience, min_share, places);
        let counts = &mut self.owners.counts;
        counts.samples_dropped += assigned.dropped / self.period.max(1);
        if before == 0 && counts.folded_surplus > 0 {
            tracing::warn!(
                "there are more owners within an hour than --max-owners: from now on, what is new and finds no place goes as \"other\""
            );
        }
        assigned
    }

    /// How it looks now, which decides nothing.
    fn glance(&mut self, tally: IdentityTally, min_share: f64) -> OwnerTally {
        let (owners, mut places) = (&mut self.owners, self.places.clone());
        assign(tally, owners, Patience::Glance, min_share, &mut places).owners
    }

    /// Keeps what waits, and returns how it looks meanwhile.
    fn hold(&mut self, tally: IdentityTally) -> Vec<Arc<OwnerProfile>> {
        self.owners.counts.waiting = tally.stacks.len() as u64;
        if tally.stacks.is_empty() {
            return Vec::new();
        }
        let seeming = self.glance(tally.clone(), 0.0);
        let profiles = self.encode(&seeming);
        let shown = profiles.clone();
        self.held = Some(Held { tally, shown });
        profiles
    }

    fn encode(&mut self, tally: &OwnerTally) -> Vec<Arc<OwnerProfile>> {
        let OwnerProfiles { profiles, unsound } = owner_profiles(tally, self.period);
        self.unsound += unsound;
        profiles
    }
}

/// Profiles of a window: within seconds they are part of an interval's, and it is those that count what is left out.
fn counted(tally: OwnerTally, period: u64) -> Profiles {
    Profiles::counted(tally.bytes(), move || {
        owner_profiles(&tally, period).profiles
    })
}

#[cfg(test)]
mod tests;
