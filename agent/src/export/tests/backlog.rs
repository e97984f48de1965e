//! What waits on disk and in memory: when it is sent, in which order, and what a disk in trouble costs. In simulated time.

use super::stage::*;
use super::*;
use crate::export::retry::{Answer, Outcome};
use crate::export::sender::{Clock, Push, Server};
use crate::export::spool::Spool;
use tokio::time::{Instant, sleep};

/// An exporter with `config` to what `stage` plays.
fn start(config: &PyroscopeConfig, stage: &Arc<Stage>, begin: Instant) -> Play {
    start_with(stage.push(), config, stage, begin)
}

/// The same, but pushes go to `push`.
fn start_with(push: Push, config: &PyroscopeConfig, stage: &Arc<Stage>, begin: Instant) -> Play {
    let clock: Clock = Box::new(move || BEGIN + begin.elapsed().as_nanos() as i64);
    let server = Server {
        push,
        ..stage.server(clock)
    };
    Play::start_at(config, server, stage, begin)
}

/// Answers those of "large" with `answer` for `time`, and all others as `stage` does.
fn for_large(stage: &Arc<Stage>, answer: Answer, time: Duration) -> Push {
    let (begin, others) = (Instant::now(), stage.push());
    Box::new(move |body: Bytes| {
        let is_large = body.windows(5).any(|text| text == b"large");
        if is_large && begin.elapsed() < time {
            let answer = answer.clone();
            return Box::pin(async move { Outcome::Answered(answer) });
        }
        others(body)
    })
}

/// A large profile that the server's bucket has no room for, while it takes many small ones, waits longer each time and arrives: from
/// disk as from memory.
#[tokio::test(start_paused = true)]
async fn rate_limits_are_waited_out_by_each_profile() {
    for with_spool in [true, false] {
        let directory = directory();
        let stage = Stage::new(Mood::Refuses);
        let limited = Answer {
            status: 429,
            message: "push rate limit (4.0 MiB) exceeded".to_owned(),
            retry_after: None,
        };
        let time = Duration::from_secs(90);
        let push = for_large(&stage, limited, time);
        let play = start_with(
            push,
            &spooled(with_spool.then_some(&directory)),
            &stage,
            Instant::now(),
        );
        sleep(INTERVAL).await;
        if with_spool {
            play.exporter.submit(vec![profile_at("large", BEGIN)]);
            play.intervals(2).await;
            stage.becomes(WELL);
        } else {
            stage.becomes(WELL);
            play.exporter.submit(vec![profile_at("large", BEGIN)]);
            play.intervals(2).await;
        }
        for _ in 0..50 {
            sleep(Duration::from_secs(1)).await;
            play.submit();
        }
        stage.stores(1 + 52 * OWNERS as usize).await;
        stage.assert_each_once();
        let counts = play.counts();
        assert_eq!(counts.dropped("rate_limited"), 0, "{}", counts.0);
        assert!(counts.pushes("429") <= 9, "{}", counts.0);
    }
}

/// A spool that an agent finds locked at its start, by one that is about to end, is sent as soon as it is free, though the server is well
/// and nothing else needs the disk.
#[tokio::test(start_paused = true)]
async fn a_spool_is_opened_later() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let begin = Instant::now();
    let config = spooled(Some(&directory));
    let first = start(&config, &stage, begin);
    first.intervals(3).await;
    first.killed().await;
    stage.becomes(WELL);
    let holder = Spool::open(&config.spool.path, config.spool.most_bytes).unwrap();
    let second = start(&config, &stage, begin);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(stage.stored(), 0);
    drop(holder);
    stage.stores(3 * OWNERS as usize).await;
    stage.assert_each_once();
    drop(second);
}

/// A server that takes two seconds for an answer gets live profiles with all pushes that may be in flight, and before the backlog.
#[tokio::test(start_paused = true)]
async fn slow_answers_leave_live_profiles_first() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let config = spooled(Some(&directory));
    let play = start(&config, &stage, Instant::now());
    play.intervals(60).await;
    stage.becomes(Mood::Takes(Duration::from_secs(2)));
    while play.counts().pushes("200") == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    let start = BEGIN + (play.begin.elapsed() - INTERVAL).as_nanos() as i64;
    let live = (0..96).map(|owner| profile_at(&format!("live-{owner}"), start));
    let pushed = Instant::now();
    play.exporter.submit(live.collect());
    let stored_live = || {
        let stored = stage.stored.lock().unwrap();
        let live = stored.keys().filter(|(name, _)| name.starts_with("live"));
        live.count()
    };
    while stored_live() < 96 {
        sleep(Duration::from_millis(100)).await;
    }
    // Three rounds of 32 begin within 4 s, behind what was in flight; in rounds of 8 it would be 22.
    let took = pushed.elapsed();
    assert!(took <= Duration::from_secs(8), "{took:?}");
    assert!(stage.stored() < 96 + 60, "{}", stage.stored());
    stage.stores(96 + 60 * OWNERS as usize).await;
    stage.assert_each_once();
}

/// Without a spool, what was sent and not answered counts into the bound of memory; what goes of it may be stored, and is counted as that.
#[tokio::test(start_paused = true)]
async fn memory_is_bounded_without_a_spool() {
    let stage = Stage::new(Mood::Hangs);
    let mut config = spooled(None);
    config.limits.queue_bytes = 20_000;
    let play = start(&config, &stage, Instant::now());
    let mut size = 0;
    for _ in 0..200 {
        sleep(INTERVAL).await;
        let start = BEGIN + (play.begin.elapsed() - INTERVAL).as_nanos() as i64;
        let profile = padded_at("owner", start, 2500);
        size = profile.pprof.len() as u64;
        play.exporter.submit(vec![profile]);
    }
    let counts = play.counts();
    let held = 200 - counts.fates();
    // One more is in flight.
    assert!(held <= 20_000 / size + 1, "{held} of {size}");
    assert!(counts.unknown() > 0, "{}", counts.0);
}

/// A spool that has room for little keeps little, and not nothing; what is larger than all of it goes with a count.
#[tokio::test(start_paused = true)]
async fn a_small_spool_is_used() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let begin = Instant::now();
    let mut config = spooled(Some(&directory));
    // Of what repeats, a thirtieth is left.
    config.spool.most_bytes = 35_000;
    let first = start(&config, &stage, begin);
    sleep(INTERVAL).await;
    let padded = |owner: i64, padding| padded_at(&format!("owner-{owner}"), BEGIN, padding);
    let mut profiles: Vec<_> = (0..8).map(|owner| padded(owner, 300_000)).collect();
    profiles.push(padded(8, 1_200_000));
    first.exporter.submit(profiles);
    let counts = first.killed().await;
    assert_eq!(counts.dropped("spool_full"), 9 - 3, "{}", counts.0);
    stage.becomes(WELL);
    let _second = start(&config, &stage, begin);
    stage.stores(3).await;
    stage.assert_each_once();
}

/// An answer that comes at the moment of the end is heard: the next agent does not send what the server has.
#[tokio::test(start_paused = true)]
async fn answers_at_the_end_count() {
    const ANSWER: Duration = Duration::from_secs(5);
    for _ in 0..20 {
        let directory = directory();
        let stage = Stage::new(Mood::Takes(ANSWER));
        let begin = Instant::now();
        let config = spooled(Some(&directory));
        let first = start(&config, &stage, begin);
        sleep(INTERVAL).await;
        first.submit();
        assert_eq!(first.exporter.flush(ANSWER).await, 0);
        let second = start(&config, &stage, begin);
        stage.stores(OWNERS as usize).await;
        stage.assert_each_once();
        drop(second);
    }
}
