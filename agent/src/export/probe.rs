//! Whether a server would take pushes, by one of nothing: it stores nothing, and checks everything before that.

use super::client::PushClient;
use super::complaints::printable;
use super::config::PyroscopeConfig;
use super::retry::Outcome;
use bytes::Bytes;

/// What goes to a terminal of a message that came from outside.
const MESSAGE_BYTES: usize = 200;

/// What Pyroscope says to a push without a series.
const NOTHING_PUSHED: &str = "no profiles received";

/// Pushes nothing to the server in `config`. The error is a sentence, whose end says what to do.
pub(crate) async fn probe(config: &PyroscopeConfig) -> Result<(), String> {
    let client = PushClient::new(config).map_err(|error| format!("{error:#}"))?;
    let url = &config.url;
    let outcome = client.push(Bytes::new()).await;
    let message = printable(outcome.message(), MESSAGE_BYTES);
    match &outcome {
        Outcome::Answered(answer) => match answer.status {
            200 => Ok(()),
            400 if message.contains(NOTHING_PUSHED) => Ok(()),
            401 | 403 => Err(format!(
                "{url} refuses who pushes ({message}): give it the user, token or tenant that it asks for"
            )),
            status => Err(format!(
                "{url} answers {status} to a push ({message}): set the url to the pyroscope server itself"
            )),
        },
        Outcome::NotPyroscope => Err(format!("{url}: {message}")),
        Outcome::NotSent(_) | Outcome::TimedOut | Outcome::Broken(_) => Err(format!(
            "{url} cannot be reached ({message}): profiles wait on disk until it can; check address and firewall"
        )),
    }
}
