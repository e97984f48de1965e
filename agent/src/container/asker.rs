//! Asks for containers, a few at a time, and again when nobody knows one yet: its cgroup is there before its runtime tells of it.

use super::runtimes::{Order, Shared};
use super::sources::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Pauses before it is asked again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
/// Containers that are asked for at the same time.
const AT_ONCE: usize = 8;

/// Asks until nobody can give orders any more.
pub(super) async fn ask(shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>) {
    let mut waiting = Waiting::default();
    let mut running = JoinSet::new();
    loop {
        let due = waiting.next();
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => waiting.add(Duration::ZERO, order),
                None => return,
            },
            Some(done) = running.join_next(), if !running.is_empty() => {
                // One that panicked would be asked for by nobody; none can.
                if let Ok((order, verdict)) = done
                    && let Some((pause, order)) = settle(&shared, order, verdict)
                {
                    waiting.add(pause, order);
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && running.len() < AT_ONCE => {
                if let Some((_, order)) = waiting.0.pop_first() {
                    let shared = Arc::clone(&shared);
                    running.spawn(async move {
                        let patience = PAUSES.iter().skip(order.round).sum();
                        let asked = shared.sources.ask(&order.id, order.maker, patience);
                        let verdict = asked.await;
                        (order, verdict)
                    });
                }
            }
        }
    }
}

/// Orders by when they are due, then by when they were given; no more than there is room for.
#[derive(Default)]
struct Waiting(BTreeMap<(Instant, u64), Order>, u64);

impl Waiting {
    fn add(&mut self, pause: Duration, order: Order) {
        self.1 += 1;
        self.0.insert((Instant::now() + pause, self.1), order);
    }

    fn next(&self) -> Option<Instant> {
        self.0.keys().next().map(|(due, _)| *due)
    }
}

/// Remembers what was found, or says when to ask again.
fn settle(shared: &Shared, order: Order, verdict: Verdict) -> Option<(Duration, Order)> {
    match (verdict, PAUSES.get(order.round)) {
        (Verdict::Found(info), _) => shared.found(&order, info),
        (_, Some(pause)) => {
            let round = order.round + 1;
            return Some((*pause, Order { round, ..order }));
        }
        (Verdict::NotThere, None) => shared.not_there(&order),
        (Verdict::Unsure | Verdict::NoneThere, None) => shared.unsure(&order),
    }
    None
}
