//! What is provisional in an outage: on disk for the next agent, never sent by the one that put it there, and never beside what comes in its
//! place.

use super::stage::*;
use super::*;
use crate::export::sender::Clock;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const MOODS: [Mood; 4] = [
    Mood::Refuses,
    Mood::Answers(503, ""),
    Mood::Hangs,
    Mood::Resets,
];

/// Services that are stored, and how often.
fn services(stage: &Stage) -> BTreeMap<String, usize> {
    let stored = stage.stored.lock().unwrap();
    let mut services = BTreeMap::new();
    for ((service, _), times) in stored.iter() {
        *services.entry(service.clone()).or_default() += times;
    }
    services
}

fn once(services: &[&str]) -> BTreeMap<String, usize> {
    let services = services.iter().map(|service| ((*service).to_owned(), 1));
    services.collect()
}

/// An agent in an outage, an interval of `unit` and of a container whose name is asked for.
async fn first(stage: &Arc<Stage>, directory: &TempDir) -> Play {
    let play = Play::start(stage, Instant::now(), Some(directory));
    play.intervals(1).await;
    sleep(INTERVAL).await;
    let of_interval = |service| vec![profile_at(service, BEGIN + 15 * SECOND)];
    play.exporter
        .hand_over(of_interval("unit"), of_interval("docker-1"));
    play
}

/// What the next agent sends of the directory that this one leaves when it dies.
async fn sent_by_next(stage: &Arc<Stage>, play: Play, directory: &TempDir) -> Vec<(String, usize)> {
    let begin = play.begin;
    play.killed().await;
    stage.becomes(WELL);
    let _next = Play::start(stage, begin, Some(directory));
    sleep(Duration::from_secs(300)).await;
    let services = services(stage).into_iter();
    services
        .filter(|(service, _)| !service.starts_with("owner-"))
        .collect()
}

fn pairs(services: &[&str]) -> Vec<(String, usize)> {
    once(services).into_iter().collect()
}

/// Killed a second after the end of an interval: the next agent sends what was provisional as it is.
#[tokio::test(start_paused = true)]
async fn what_is_provisional_survives_a_kill() {
    for mood in MOODS {
        let directory = directory();
        let stage = Stage::new(mood);
        let play = first(&stage, &directory).await;
        let sent = sent_by_next(&stage, play, &directory).await;
        assert_eq!(sent, pairs(&["docker-1", "unit"]), "{mood:?}");
    }
}

/// Killed a second after others came in its place, or a part of it: it is these that are sent, and what is provisional still.
#[tokio::test(start_paused = true)]
async fn what_is_replaced_is_not_sent() {
    for mood in MOODS {
        for rest in [vec![], vec!["docker-2"]] {
            let directory = directory();
            let stage = Stage::new(mood);
            let play = first(&stage, &directory).await;
            sleep(Duration::from_secs(5)).await;
            let start = BEGIN + 15 * SECOND;
            let provisional = rest.iter().map(|service| profile_at(service, start));
            play.exporter
                .hand_over(vec![profile_at("web", start)], provisional.collect());
            let sent = sent_by_next(&stage, play, &directory).await;
            let expected = [rest, vec!["unit", "web"]].concat();
            assert_eq!(sent, pairs(&expected), "{mood:?}");
        }
    }
}

/// What goes to disk later does not take its place, and what is provisional of the next interval does not either.
#[tokio::test(start_paused = true)]
async fn it_stays_while_others_come() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let play = first(&stage, &directory).await;
    sleep(INTERVAL).await;
    let start = BEGIN + 30 * SECOND;
    let provisional = ["docker-1", "docker-2"].map(|service| profile_at(service, start));
    play.exporter.hand_over(
        vec![profile_at("web", BEGIN + 15 * SECOND)],
        provisional.to_vec(),
    );
    for _ in 0..20 {
        sleep(Duration::from_secs(1)).await;
        let batch = vec![profile_at("late", start)];
        play.exporter.hand_over(batch, provisional.to_vec());
    }
    let sent: BTreeMap<_, _> = sent_by_next(&stage, play, &directory)
        .await
        .into_iter()
        .collect();
    let mut expected = once(&["docker-1", "docker-2", "unit", "web"]);
    expected.insert("late".to_owned(), 20);
    assert_eq!(sent, expected);
}

/// The outage is over before the name is there: what is provisional waits on disk, is never sent, and is gone when others come in its place.
#[tokio::test(start_paused = true)]
async fn the_living_send_nothing_provisional() {
    for mood in MOODS {
        let directory = directory();
        let stage = Stage::new(mood);
        let play = first(&stage, &directory).await;
        sleep(Duration::from_secs(3)).await;
        stage.becomes(WELL);
        sleep(Duration::from_secs(200)).await;
        assert!(play.counts().of_server("thermograph_spool_bytes") > 0);
        assert!(!services(&stage).contains_key("docker-1"), "{mood:?}");
        play.exporter
            .submit(vec![profile_at("web", BEGIN + 15 * SECOND)]);
        sleep(Duration::from_secs(200)).await;
        let expected = ["owner-0", "owner-1", "owner-2", "owner-3", "unit", "web"];
        assert_eq!(services(&stage), once(&expected), "{mood:?}");
        let counts = play.counts();
        assert_eq!(counts.of_server("thermograph_spool_bytes"), 0);
        assert_eq!(counts.fates(), 6, "{}", counts.0);
        assert_eq!(play.exporter.flush(PATIENCE).await, 0);
    }
}

/// While the server takes profiles, the disk is not touched for what is provisional.
#[tokio::test(start_paused = true)]
async fn nothing_provisional_is_on_disk_while_all_is_well() {
    let directory = directory();
    let stage = Stage::new(WELL);
    let play = first(&stage, &directory).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(play.counts().of_server("thermograph_spool_bytes"), 0);
    assert!(!services(&stage).contains_key("docker-1"));
}

/// An interval of nothing else, and a server of which nobody has noticed that it is away: it is on disk all the same.
#[tokio::test(start_paused = true)]
async fn an_unnoticed_outage_is_noticed_for_it() {
    for mood in [Mood::Refuses, Mood::Hangs] {
        let directory = directory();
        let stage = Stage::new(mood);
        let play = Play::start(&stage, Instant::now(), Some(&directory));
        sleep(INTERVAL).await;
        play.exporter
            .hand_over(vec![], vec![profile_at("docker-1", BEGIN)]);
        let sent = sent_by_next(&stage, play, &directory).await;
        assert_eq!(sent, pairs(&["docker-1"]), "{mood:?}");
    }
}

/// Larger than a spool may spare for it: the rest is kept, and nothing else is lost for it.
#[tokio::test(start_paused = true)]
async fn too_much_is_left_out() {
    let directory = directory();
    let stage = Stage::new(Mood::Refuses);
    let begin = Instant::now();
    let clock: Clock = Box::new(move || BEGIN + begin.elapsed().as_nanos() as i64);
    let mut config = spooled(Some(&directory));
    config.spool.most_bytes = 20_000;
    let play = Play::start_at(&config, stage.server(clock), &stage, begin);
    sleep(INTERVAL).await;
    let large = (0..9).map(|number| padded_at(&format!("large-{number}"), BEGIN, 10_000));
    let provisional = [profile_at("docker-1", BEGIN)].into_iter().chain(large);
    play.exporter
        .hand_over(vec![profile_at("unit", BEGIN)], provisional.collect());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        play.counts().of_server("thermograph_spool_failures_total"),
        0
    );
    let sent = sent_by_next(&stage, play, &directory).await;
    let sent: Vec<&str> = sent.iter().map(|(service, _)| service.as_str()).collect();
    assert!(sent.starts_with(&["docker-1", "large-0"]), "{sent:?}");
    assert!(sent.ends_with(&["unit"]) && sent.len() < 11, "{sent:?}");
}
