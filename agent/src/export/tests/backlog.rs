//! What waits on disk and in memory: when it is sent, in which order, and what a disk in trouble costs. In simulated time.

use super::outage::*;
use super::*;
use crate::export::retry::{Answer, Outcome};
use crate::export::sender::{Clock, Push, Server};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// An exporter to `stage` that finds `push` there instead.
fn start_with(push: Push, stage: &Arc<Stage>, directory: Option<&TempDir>) -> Play {
    let begin = Instant::now();
    let clock: Clock = Box::new(move || BEGIN + begin.elapsed().as_nanos() as i64);
    let server = Server {
        push,
        ..stage.server(clock)
    };
    Play::start_at(server, stage, begin, directory)
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
        let play = start_with(push, &stage, with_spool.then_some(&directory));
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
