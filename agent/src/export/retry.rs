//! Whether a push is tried again, from how it ended.
//!
//! Pyroscope does not deduplicate, stores pushes whose answer never came, and says "this payload is bad" and "I am
//! starting" with the same status: each kind of ending has its own rule, and all of them are here.

use pprof_proto::validate::BURST_BYTES;
use std::time::Duration;

/// Repeats of a profile the server keeps refusing for its rate limit. The server may have a smaller burst than the
/// default: without a bound, one such profile an interval would fill all places in flight.
pub(super) const RATE_LIMITED_RETRIES: u32 = 9;

/// A proxy that asks for more patience than this is not obeyed: the profile would be too old to be stored.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How one push ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// An answer came.
    Answered(Answer),
    /// A web page answered 200: it is not Pyroscope that lives there, and nothing was stored.
    NotPyroscope,
    /// The connection could not be made: refused, no address, TLS. With the cause.
    NotSent(String),
    /// The request was sent, at least in part, and no answer came in time.
    TimedOut,
    /// The request was sent, at least in part, and the connection broke before the answer. With the cause.
    Broken(String),
}

/// What the server, or a proxy before it, answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// Message of the Connect error, or the begin of a body that was not a Connect error.
    pub(super) message: String,
    /// `Retry-After`, which Pyroscope itself never sends.
    pub(super) retry_after: Option<Duration>,
}

/// What follows from an [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The server has it.
    Stored,
    /// It was not stored and may be later: try again, not before this time.
    Retry(Duration),
    /// The same, but no more than [`RATE_LIMITED_RETRIES`] times: it may be the profile that is too large.
    RetryRateLimited(Duration),
    /// It may have been stored, or it may be at fault itself: once more, later, and never again.
    RetryOnceLate,
    /// It will never be stored.
    Drop,
}

/// What to do after `outcome` of a push of `size` bytes (uncompressed profile and labels).
pub(super) fn decide(outcome: &Outcome, size: usize) -> Decision {
    match outcome {
        Outcome::NotSent(_) => Decision::Retry(Duration::ZERO),
        Outcome::TimedOut | Outcome::Broken(_) => Decision::RetryOnceLate,
        Outcome::NotPyroscope => Decision::Drop,
        Outcome::Answered(answer) => decide_answer(answer, size),
    }
}

fn decide_answer(answer: &Answer, size: usize) -> Decision {
    match answer.status {
        200 => Decision::Stored,
        408 | 502 | 503 => Decision::Retry(patience(answer)),
        429 => decide_too_many(answer, size),
        500 if is_starting(answer) => Decision::Retry(patience(answer)),
        501 => Decision::Drop,
        // 504 is the server's own timeout: what it timed out on is stored all the same. Any other 5xx is a payload it
        // chokes on, or a proxy's bad moment.
        500.. => Decision::RetryOnceLate,
        _ => Decision::Drop,
    }
}

fn decide_too_many(answer: &Answer, size: usize) -> Decision {
    // Above its burst the server answers the same however long one waits.
    if answer.message.contains("message size") || size > BURST_BYTES {
        return Decision::Drop;
    }
    Decision::RetryRateLimited(patience(answer))
}

/// A server that is starting answers 500 `unknown`, for some seconds after its `/ready` says 200.
fn is_starting(answer: &Answer) -> bool {
    answer.message.starts_with("rpc error: code = Unavailable")
}

/// Shortest wait the answer asks for; 0 if it does not.
fn patience(answer: &Answer) -> Duration {
    answer
        .retry_after
        .unwrap_or_default()
        .min(LONGEST_RETRY_AFTER)
}

impl Outcome {
    /// Whether the server may have stored a profile whose push ended like this, without saying so.
    pub(super) fn may_be_stored(&self) -> bool {
        match self {
            Outcome::TimedOut | Outcome::Broken(_) => true,
            Outcome::Answered(answer) => answer.status == 504,
            Outcome::NotPyroscope | Outcome::NotSent(_) => false,
        }
    }

    /// What the log says about it.
    pub(super) fn message(&self) -> &str {
        match self {
            Outcome::Answered(answer) => &answer.message,
            Outcome::NotPyroscope => {
                "a web page answered: set the url to the pyroscope server itself"
            }
            Outcome::NotSent(cause) | Outcome::Broken(cause) => cause,
            Outcome::TimedOut => "no answer in time",
        }
    }

    /// The `code` of the metric: the HTTP status, or why there is none.
    pub(super) fn code(&self) -> String {
        match self {
            Outcome::Answered(answer) => answer.status.to_string(),
            Outcome::NotPyroscope => "not_pyroscope".to_owned(),
            Outcome::NotSent(_) => "connect".to_owned(),
            Outcome::TimedOut => "timeout".to_owned(),
            Outcome::Broken(_) => "reset".to_owned(),
        }
    }

    /// The `reason` of the metric, for a profile that is dropped after this.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Outcome::NotPyroscope => "not_pyroscope",
            Outcome::NotSent(_) => "unreachable",
            Outcome::TimedOut | Outcome::Broken(_) => "no_answer",
            Outcome::Answered(answer) => match answer.status {
                300..400 => "redirected",
                401 | 403 => "unauthorized",
                404 => "not_found",
                413 => "too_large",
                429 if answer.message.contains("message size") => "too_large",
                429 => "rate_limited",
                400..500 => "rejected",
                _ => "server_error",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 1000;
    const SOON: Decision = Decision::Retry(Duration::ZERO);

    fn answered(status: u16, message: &str) -> Outcome {
        Outcome::Answered(Answer {
            status,
            message: message.to_owned(),
            retry_after: None,
        })
    }

    /// First line of the table: nothing was stored, so trying again costs nothing.
    #[test]
    fn what_never_arrived_is_retried() {
        assert_eq!(
            decide(&Outcome::NotSent("connection refused".into()), SMALL),
            SOON
        );
        for status in [408, 502, 503] {
            assert_eq!(decide(&answered(status, "busy"), SMALL), SOON, "{status}");
            assert!(!answered(status, "").may_be_stored());
        }
        assert!(!Outcome::NotSent(String::new()).may_be_stored());
    }

    /// Second line: `unknown` with `code = Unavailable` at its begin is a server that is starting.
    #[test]
    fn a_starting_server_is_retried() {
        let starting =
            "rpc error: code = Unavailable desc = connection error: desc = \"transport\"";
        assert_eq!(decide(&answered(500, starting), SMALL), SOON);
        let quoted = "unmarshal: rpc error: code = Unavailable";
        assert_eq!(
            decide(&answered(500, quoted), SMALL),
            Decision::RetryOnceLate
        );
    }

    /// Third line: any other 500 means that this payload is bad: once more at most, and it is not stored.
    #[test]
    fn a_bad_payload_is_retried_once_at_most() {
        for message in [
            "gzip: invalid header",
            "unexpected EOF",
            "proto: wrong wireType",
            "runtime error: nil",
            "",
        ] {
            let outcome = answered(500, message);
            assert_eq!(
                decide(&outcome, SMALL),
                Decision::RetryOnceLate,
                "{message}"
            );
            assert!(!outcome.may_be_stored());
            assert_eq!(outcome.reason(), "server_error");
        }
    }

    /// Fourth line: what timed out is stored; a retry counts twice, so there is at most one.
    #[test]
    fn what_may_be_stored_is_retried_once_late() {
        let gateway = answered(504, "context deadline exceeded");
        for outcome in [
            Outcome::TimedOut,
            Outcome::Broken("reset by peer".into()),
            gateway,
        ] {
            assert_eq!(
                decide(&outcome, SMALL),
                Decision::RetryOnceLate,
                "{outcome:?}"
            );
            assert!(outcome.may_be_stored());
        }
    }

    /// Fifth line: the rate limit passes, unless the profile alone is larger than the bucket; a size limit never does.
    #[test]
    fn too_many_requests_depends_on_the_message() {
        let rate = "push rate limit (4.0 MiB) exceeded while adding 2.9 MiB";
        let later = Decision::RetryRateLimited(Duration::ZERO);
        assert_eq!(decide(&answered(429, rate), SMALL), later);
        assert_eq!(decide(&answered(429, rate), BURST_BYTES), later);
        assert_eq!(
            decide(&answered(429, rate), BURST_BYTES + 1),
            Decision::Drop
        );
        let size = answered(429, "message size 300 is larger than configured max of 256");
        assert_eq!(decide(&size, SMALL), Decision::Drop);
        assert_eq!(size.reason(), "too_large");
    }

    /// Fifth line, its end: a proxy's `Retry-After` is kept to, within reason.
    #[test]
    fn retry_after_is_honoured() {
        for status in [429, 503] {
            let asked = |seconds| {
                let retry_after = Some(Duration::from_secs(seconds));
                match decide(
                    &Outcome::Answered(Answer {
                        status,
                        retry_after,
                        ..Answer::default()
                    }),
                    SMALL,
                ) {
                    Decision::Retry(after) | Decision::RetryRateLimited(after) => after,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(asked(7), Duration::from_secs(7));
            assert_eq!(asked(0), Duration::ZERO);
            assert_eq!(asked(u64::MAX), LONGEST_RETRY_AFTER);
        }
    }

    /// Last line: these never change by waiting.
    #[test]
    fn what_the_server_rejects_is_dropped() {
        for status in [301, 302, 400, 401, 403, 404, 413, 415, 422, 501] {
            let outcome = answered(status, "no");
            assert_eq!(decide(&outcome, SMALL), Decision::Drop, "{status}");
            assert!(!outcome.may_be_stored());
        }
        assert_eq!(decide(&Outcome::NotPyroscope, SMALL), Decision::Drop);
    }

    /// Only a 200 is an acknowledgement.
    #[test]
    fn stored_is_200_and_nothing_else() {
        assert_eq!(decide(&answered(200, ""), SMALL), Decision::Stored);
        for status in [100, 202, 204, 299] {
            assert_eq!(
                decide(&answered(status, ""), SMALL),
                Decision::Drop,
                "{status}"
            );
        }
    }
}
