//! Outages of half an hour in simulated time, with a real spool: everything arrives once, with its own time.

use super::stage::*;
use super::*;
use crate::export::sender::{Clock, Push, Server};
use tokio::time::{Instant, sleep};

/// Half an hour of each kind of outage: every profile before, in and after it is stored once, and the disk is empty again.
#[tokio::test(start_paused = true)]
async fn half_an_hour_without_a_server() {
    for mood in [
        Mood::Refuses,
        Mood::Answers(503, "no instances"),
        Mood::Answers(500, "rpc error: code = Unavailable desc = starting"),
        Mood::Answers(500, "disk full"),
        Mood::Answers(429, "push rate limit (4.0 MiB) exceeded"),
        Mood::Hangs,
        Mood::Resets,
    ] {
        let directory = directory();
        let stage = Stage::new(WELL);
        let play = Play::start(&stage, Instant::now(), Some(&directory));
        play.intervals(2).await;
        stage.becomes(mood);
        play.intervals(120).await;
        stage.becomes(WELL);
        play.intervals(2).await;
        stage.stores(124 * OWNERS as usize).await;
        stage.assert_each_once();
        let counts = play.counts();
        let of_server = |name| counts.of_server(name);
        assert!(
            of_server("thermograph_spool_profiles_total") >= 100,
            "{mood:?}"
        );
        assert_eq!(of_server("thermograph_spool_bytes"), 0, "{mood:?}");
        assert_eq!(
            counts.fates(),
            124 * OWNERS as u64,
            "{mood:?}: {}",
            counts.0
        );
        assert_eq!(counts.unknown(), 0, "{mood:?}");
        assert_eq!(play.exporter.flush(PATIENCE).await, 0);
    }
}

/// The same with a server that keeps what it does not answer: nothing is stored more than twice, each second time is counted.
#[tokio::test(start_paused = true)]
async fn half_an_hour_of_lost_answers() {
    let directory = directory();
    let stage = Stage::new(Mood::StoresAndResets);
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    play.intervals(120).await;
    stage.becomes(WELL);
    stage.stores(120 * OWNERS as usize).await;
    let stored = stage.stored.lock().unwrap();
    let twice = stored.values().filter(|times| **times == 2).count();
    assert!(stored.values().all(|times| *times <= 2));
    let repeated = play
        .counts()
        .of_server("thermograph_push_repeated_unknown_total");
    assert_eq!(repeated, twice as u64);
}

/// A server that takes three seconds for an answer loses nothing and gets nothing twice.
#[tokio::test(start_paused = true)]
async fn half_an_hour_of_slow_answers() {
    let directory = directory();
    let stage = Stage::new(Mood::Takes(Duration::from_secs(3)));
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    play.intervals(120).await;
    stage.stores(120 * OWNERS as usize).await;
    stage.assert_each_once();
    assert_eq!(play.counts().retries(), 0);
}

/// While the server takes profiles, the disk is not touched.
#[tokio::test(start_paused = true)]
async fn nothing_is_on_disk_while_all_is_well() {
    let directory = directory();
    let stage = Stage::new(WELL);
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    play.intervals(20).await;
    stage.stores(20 * OWNERS as usize).await;
    assert_eq!(
        play.counts().of_server("thermograph_spool_profiles_total"),
        0
    );
}

/// Killed at a moment from a second after the end of an interval in an outage: that interval is on disk, and arrives once the server and
/// another agent are there.
#[tokio::test(start_paused = true)]
async fn a_killed_agent_loses_the_interval_in_progress() {
    for mood in [
        Mood::Refuses,
        Mood::Answers(503, ""),
        Mood::Hangs,
        Mood::Resets,
    ] {
        for seconds in [0, 2, 13] {
            let directory = directory();
            let stage = Stage::new(mood);
            let begin = Instant::now();
            let first = Play::start(&stage, begin, Some(&directory));
            first.intervals(3).await;
            sleep(Duration::from_secs(seconds)).await;
            first.killed().await;
            stage.becomes(WELL);
            let second = Play::start(&stage, begin, Some(&directory));
            stage.stores(3 * OWNERS as usize).await;
            stage.assert_each_once();
            assert_eq!(second.counts().unknown(), 0);
        }
    }
}

/// The same for the first interval of an outage, which nobody has noticed because it is not this host's turn to send yet.
#[tokio::test(start_paused = true)]
async fn an_unnoticed_outage_is_noticed() {
    let moods = [Mood::Refuses, Mood::Hangs];
    for (mood, jitter) in moods
        .into_iter()
        .flat_map(|mood| [(mood, 5000), (mood, 500)])
    {
        let directory = directory();
        let stage = Stage::new(WELL);
        let begin = Instant::now();
        let mut first = Play::start(&stage, begin, Some(&directory));
        first.exporter.jitter = Duration::from_millis(jitter);
        first.intervals(2).await;
        sleep(INTERVAL - Duration::from_secs(1)).await;
        stage.becomes(mood);
        sleep(Duration::from_secs(1)).await;
        first.submit();
        first.killed().await;
        stage.becomes(WELL);
        let _second = Play::start(&stage, begin, Some(&directory));
        stage.stores(3 * OWNERS as usize).await;
        stage.assert_each_once();
    }
}

/// Agents that are killed again and again while the backlog goes out: what one of them knew to be stored, no later one sends; what was on its
/// way is sent once more at most.
#[tokio::test(start_paused = true)]
async fn killed_while_the_backlog_goes_out() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let begin = Instant::now();
    let first = Play::start(&stage, begin, Some(&directory));
    first.intervals(60).await;
    first.killed().await;
    stage.becomes(WELL);
    let (mut acknowledged, mut repeated) = (0, 0);
    for _ in 0..30 {
        let play = Play::start(&stage, begin, Some(&directory));
        sleep(Duration::from_millis(300)).await;
        let counts = play.killed().await;
        acknowledged += counts.pushes("200");
        repeated += counts.of_server("thermograph_push_repeated_unknown_total");
    }
    stage.stores(60 * OWNERS as usize).await;
    let stored = stage.stored.lock().unwrap();
    let twice = stored.values().filter(|times| **times == 2).count() as u64;
    assert!(stored.values().all(|times| *times <= 2));
    assert!(twice > 0 && repeated >= twice, "{repeated} {twice}");
    assert!(
        acknowledged + repeated >= 60 * OWNERS as u64,
        "{acknowledged} {repeated}"
    );
}

/// A profile that the server chokes on, or refuses, does not hold up those behind it, and goes.
#[tokio::test(start_paused = true)]
async fn poison_blocks_nothing() {
    for (status, message) in [
        (400, "invalid"),
        (500, "unexpected EOF"),
        (429, "push rate limit (4.0 MiB) exceeded"),
    ] {
        let directory = directory();
        let stage = Stage::new(Mood::Refuses);
        let begin = Instant::now();
        let stage_of_poison = Arc::clone(&stage);
        let first = Play::start(&stage, begin, Some(&directory));
        sleep(INTERVAL).await;
        first.exporter.submit(vec![profile_at("poison", BEGIN)]);
        first.intervals(10).await;
        first.killed().await;
        let well = stage_of_poison.push();
        let push: Push = Box::new(move |body: Bytes| {
            let is_poison = body.windows(6).any(|text| text == b"poison");
            if is_poison {
                return Box::pin(async move { answer(status, message) });
            }
            well(body)
        });
        stage.becomes(WELL);
        let mut config = config("http://unused");
        config.limits = PushLimits::default();
        config.spool.path = directory.path().join("spool");
        config.spool.most_bytes = 1 << 20;
        let mut registry = Registry::default();
        let clock: Clock = Box::new(move || BEGIN + begin.elapsed().as_nanos() as i64);
        let metrics = ExportMetrics::new(&mut registry);
        let exporter = Exporter::with(
            &config,
            "node-1",
            metrics,
            Server {
                push,
                ..stage.server(clock)
            },
        );
        let since = Instant::now();
        while stage.stored() < 10 * OWNERS as usize {
            sleep(Duration::from_secs(1)).await;
            assert!(since.elapsed() < Duration::from_secs(300), "{status}");
        }
        sleep(Duration::from_secs(600)).await;
        let counts = Counts::of(&registry);
        assert_eq!(
            counts.fates(),
            1 + 10 * OWNERS as u64,
            "{status}: {}",
            counts.0
        );
        assert_eq!(counts.of_server("thermograph_spool_bytes"), 0);
        stage.assert_each_once();
        drop(exporter);
    }
}

/// What is older than the server takes goes with a count, and the rest of a long outage arrives.
#[tokio::test(start_paused = true)]
async fn two_hours_without_a_server() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    play.intervals(480).await;
    stage.becomes(WELL);
    sleep(Duration::from_secs(600)).await;
    let counts = play.counts();
    assert_eq!(counts.fates(), 480 * OWNERS as u64, "{}", counts.0);
    // 59 minutes of intervals, but for the time it took to see that the server is there.
    let arrived = stage.stored() as i64 / OWNERS;
    assert!((228..=236).contains(&arrived), "{arrived}");
    stage.assert_each_once();
}

/// The clock is set back by an hour and forward by two in an outage: no profile is lost but those that the server would refuse.
#[tokio::test(start_paused = true)]
async fn the_clock_jumps() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    sleep(INTERVAL).await;
    for ahead in [0, -3600, 0, 7200] {
        let now = BEGIN + play.begin.elapsed().as_nanos() as i64;
        play.exporter
            .submit(vec![profile_at("a", now + ahead * SECOND - 15 * SECOND)]);
        sleep(INTERVAL).await;
    }
    stage.becomes(WELL);
    stage.stores(2).await;
    let counts = play.counts();
    assert_eq!(
        (
            counts.dropped("too_old"),
            counts.dropped("would_be_rejected")
        ),
        (1, 1),
        "{}",
        counts.0
    );
}

/// 200 owners at once and a server that answers in half a second: the last answer comes 4 s after the first push at most.
#[tokio::test(start_paused = true)]
async fn two_hundred_owners_at_once() {
    let directory = directory();
    let stage = Stage::new(WELL);
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    sleep(INTERVAL).await;
    let profiles = (0..200).map(|owner| profile_at(&format!("owner-{owner}"), BEGIN));
    play.exporter.submit(profiles.collect());
    stage.stores(200).await;
    let pushes = stage.pushes.lock().unwrap();
    let last = pushes.iter().filter_map(|(_, ended)| *ended).max().unwrap();
    let took = last - pushes[0].0;
    eprintln!("200 pushes of 0.5 s took {took:?}");
    assert_eq!(pushes.len(), 200);
    assert!(took <= Duration::from_secs(4), "{took:?}");
}

/// Live profiles do not wait for a backlog: they are sent within a second or two, while thousands of the backlog still wait.
#[tokio::test(start_paused = true)]
async fn live_profiles_go_first() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    for _ in 0..60 {
        sleep(INTERVAL).await;
        (0..10).for_each(|_| play.submit());
    }
    stage.becomes(WELL);
    // The server is asked again after a minute at most.
    while play.counts().pushes("200") == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    let live = profile_at("live", BEGIN + play.begin.elapsed().as_nanos() as i64);
    play.exporter.submit(vec![live]);
    sleep(Duration::from_secs(2)).await;
    let stored = stage.stored.lock().unwrap();
    assert!(stored.keys().any(|(service, _)| service == "live"));
    assert!(stored.len() < 60 * OWNERS as usize, "{}", stored.len());
}

/// The end of an agent in an outage: what it has goes to disk, and nothing is reported as lost.
#[tokio::test(start_paused = true)]
async fn the_rest_is_kept_at_the_end() {
    for mood in [Mood::Refuses, Mood::Hangs] {
        let directory = directory();
        let stage = Stage::new(mood);
        let begin = Instant::now();
        let first = Play::start(&stage, begin, Some(&directory));
        sleep(INTERVAL).await;
        first.submit();
        assert_eq!(first.exporter.flush(Duration::from_secs(10)).await, 0);
        stage.becomes(WELL);
        let second = Play::start(&stage, begin, Some(&directory));
        stage.stores(OWNERS as usize).await;
        stage.assert_each_once();
        drop(second);
    }
}

/// A disk that cannot be written costs nothing while memory is there; when it can be, it is used.
#[tokio::test(start_paused = true)]
async fn a_disk_that_fails() {
    let directory = directory();
    // Not even root makes a directory below a file.
    let in_the_way = directory.path().join("spool");
    std::fs::write(&in_the_way, "").unwrap();
    let stage = Stage::new(Mood::Refuses);
    let play = Play::start(&stage, Instant::now(), Some(&directory));
    play.intervals(20).await;
    let counts = play.counts();
    assert!(counts.of_server("thermograph_spool_failures_total") > 5);
    assert_eq!(counts.of_server("thermograph_spool_profiles_total"), 0);
    std::fs::remove_file(&in_the_way).unwrap();
    play.intervals(2).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        play.counts().of_server("thermograph_spool_profiles_total"),
        22 * OWNERS as u64
    );
    stage.becomes(WELL);
    stage.stores(22 * OWNERS as usize).await;
    stage.assert_each_once();
}

/// Without a spool an outage costs what does not fit in memory; the rest arrives once.
#[tokio::test(start_paused = true)]
async fn without_a_spool() {
    let stage = Stage::new(Mood::Refuses);
    let play = Play::start(&stage, Instant::now(), None);
    play.intervals(120).await;
    stage.becomes(WELL);
    stage.stores(120 * OWNERS as usize).await;
    stage.assert_each_once();
    assert_eq!(play.stage.stored(), 120 * OWNERS as usize);
}
