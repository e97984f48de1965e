//! Captures on demand: the one who asks for a profile meets the one who samples.

use pprof_proto::pprof::Profile;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Captures that may run at the same time: each costs kernel memory of its own.
pub(crate) const MAX_AT_ONCE: usize = 4;

/// What to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CaptureRequest {
    /// One process, by its id in the agent's pid namespace, or the whole host.
    pub(crate) pid: Option<u32>,
    /// For how long, from when the order is taken.
    pub(crate) duration: Duration,
}

/// A capture that ran to its end.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// Its samples, labelled by process and thread.
    pub(crate) profile: Profile,
    /// Number of samples (ticks) in it.
    pub(crate) samples: u64,
    /// Ticks that should be in it and are not.
    pub(crate) lost: u64,
}

/// Why there is no capture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CaptureError {
    /// As many as allowed run already.
    #[error("{MAX_AT_ONCE} captures run already: try again when one has ended")]
    TooMany,
    /// There is no process of this id.
    #[error("there is no process {0}: look the pid up again, it may have exited")]
    NoSuchProcess(u32),
    /// The agent ends, or its sampling has.
    #[error("the agent is stopping: try again when it runs")]
    Stopping,
}

/// Where captures are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Captures {
    orders: mpsc::Sender<CaptureOrder>,
    slots: Arc<Semaphore>,
}

/// A capture asked for, as the sampling side takes it. While it lives it counts as running.
#[derive(Debug)]
pub(crate) struct CaptureOrder {
    /// What to capture.
    pub(crate) request: CaptureRequest,
    /// Takes the answer; closed when nobody waits for it any longer, which ends the capture.
    pub(crate) reply: oneshot::Sender<Result<Captured, CaptureError>>,
    _slot: OwnedSemaphorePermit,
}

impl Captures {
    /// The asking and the sampling end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<CaptureOrder>) {
        let (orders, taken) = mpsc::channel(MAX_AT_ONCE);
        let slots = Arc::new(Semaphore::new(MAX_AT_ONCE));
        (Self { orders, slots }, taken)
    }

    /// Runs one. Dropping the future cancels it.
    pub(crate) async fn capture(&self, request: CaptureRequest) -> Result<Captured, CaptureError> {
        let slot = Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| CaptureError::TooMany)?;
        let (reply, answer) = oneshot::channel();
        let order = CaptureOrder {
            request,
            reply,
            _slot: slot,
        };
        // There is room for as many orders as there are slots: only a closed channel refuses one.
        self.orders
            .try_send(order)
            .map_err(|_| CaptureError::Stopping)?;
        answer.await.unwrap_or(Err(CaptureError::Stopping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: CaptureRequest = CaptureRequest {
        pid: Some(7),
        duration: Duration::from_secs(1),
    };

    fn captured(samples: u64) -> Captured {
        Captured {
            profile: Profile::default(),
            samples,
            lost: 0,
        }
    }

    /// What the sampling side answers is what the asking side gets.
    #[tokio::test]
    async fn an_order_is_answered() {
        let (captures, mut orders) = Captures::new();
        let asked = tokio::spawn(async move { captures.capture(REQUEST).await });
        let order = orders.recv().await.unwrap();
        assert_eq!(order.request, REQUEST);
        order.reply.send(Ok(captured(42))).unwrap();
        assert_eq!(asked.await.unwrap().unwrap().samples, 42);
    }

    /// The fifth is refused at once; when one that nobody waits for any longer is let go, there is room again.
    #[tokio::test]
    async fn four_at_once() {
        let (captures, mut orders) = Captures::new();
        let mut asked = Vec::new();
        let mut taken = Vec::new();
        for _ in 0..MAX_AT_ONCE {
            let captures = captures.clone();
            asked.push(tokio::spawn(async move { captures.capture(REQUEST).await }));
            taken.push(orders.recv().await.unwrap());
        }
        assert_eq!(
            captures.capture(REQUEST).await.unwrap_err(),
            CaptureError::TooMany
        );
        asked.remove(0).abort();
        let mut given_up = taken.remove(0);
        given_up.reply.closed().await;
        drop(given_up);
        let again = tokio::spawn(async move { captures.capture(REQUEST).await });
        let order = orders.recv().await.unwrap();
        order
            .reply
            .send(Err(CaptureError::NoSuchProcess(7)))
            .unwrap();
        assert_eq!(
            again.await.unwrap().unwrap_err(),
            CaptureError::NoSuchProcess(7)
        );
    }

    /// A sampling side that is gone, before or after it took the order, is an answer and no hang.
    #[tokio::test]
    async fn nobody_samples() {
        let (captures, mut orders) = Captures::new();
        let asked = tokio::spawn({
            let captures = captures.clone();
            async move { captures.capture(REQUEST).await }
        });
        drop(orders.recv().await.unwrap());
        assert_eq!(asked.await.unwrap().unwrap_err(), CaptureError::Stopping);
        drop(orders);
        assert_eq!(
            captures.capture(REQUEST).await.unwrap_err(),
            CaptureError::Stopping
        );
    }
}
