//! Bounded memory while a server hangs, and a bounded end.

use super::*;

/// While a server hangs, what is kept stays within its bound, the newest stay, and each profile that went is counted.
#[tokio::test]
async fn a_hanging_server_costs_bounded_memory() {
    let server = Pyroscope::start();
    server.play(Fault::Hang, usize::MAX);
    let mut config = config(&server.url());
    config.limits.queue_bytes = 20_000;
    config.limits.in_flight = 4;
    let rig = Rig::new(&config);
    for _ in 0..100 {
        rig.exporter.submit(
            (0..10)
                .map(|at| profile(&format!("service-{at}")))
                .collect(),
        );
    }
    let held = 1000 - Counts::of(&rig.registry).dropped("queue_full");
    assert!(
        (1..=40).contains(&held),
        "{held} profiles of at least 512 bytes in 20000"
    );
    let abandoned = rig.exporter.flush(Duration::ZERO).await;
    let counts = Counts::of(&rig.registry);
    assert_eq!(abandoned, held);
    assert_eq!(counts.fates(), 1000, "each has one fate:\n{}", counts.0);
}

/// A shutdown ends at its deadline and tells apart what was never sent from what may have been stored.
#[tokio::test]
async fn a_shutdown_is_bounded_and_counted() {
    let server = Pyroscope::start();
    server.play(Fault::Hang, usize::MAX);
    let mut config = config(&server.url());
    config.limits.in_flight = 2;
    let rig = Rig::new(&config);
    rig.exporter.submit(
        (0..10)
            .map(|at| profile(&format!("service-{at}")))
            .collect(),
    );
    while server.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.exporter.flush(Duration::from_millis(10)).await, 10);
    let counts = Counts::of(&rig.registry);
    assert_eq!(
        (counts.unknown(), counts.dropped("shutdown"), counts.fates()),
        (2, 8, 10)
    );
}

/// A thread that did not end and still holds the exporter does not keep what is queued from being sent.
#[tokio::test]
async fn others_may_hold_it_at_the_end() {
    let server = Pyroscope::start();
    let exporter = Arc::new(Rig::new(&config(&server.url())).exporter);
    let of_a_thread = Arc::clone(&exporter);
    of_a_thread.submit(vec![profile("app")]);
    assert_eq!(exporter.flush(PATIENCE).await, 0);
    assert_eq!(server.stored().len(), 1);
    assert_eq!(of_a_thread.flush(PATIENCE).await, 0);
}
