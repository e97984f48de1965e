//! Failures to order.

use super::answer::Answer;
use super::connection::Connection;
use super::{Server, answer_push};
use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use std::time::Duration;

/// What goes wrong with a push.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Not stored; answered with this Connect error.
    Error {
        /// HTTP status.
        status: u16,
        /// Connect code.
        code: &'static str,
        /// Its message.
        message: String,
    },
    /// Not stored; answered like this, as a proxy or another server may.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers.
        headers: Vec<(&'static str, String)>,
        /// Body.
        body: String,
    },
    /// Read, not stored, never answered.
    Hang,
    /// Stored if valid, and answered only after this time.
    StoreAndAnswerAfter(Duration),
    /// Not read, not stored: the connection is reset.
    ResetBeforeBody,
    /// Read, not stored: the connection is reset.
    ResetAfterBody,
    /// Stored if valid; then the connection is reset.
    StoreAndReset,
}

/// Does what `fault` says to one push, and returns the answer it gets, if it gets one.
pub(super) async fn act(
    fault: &Fault,
    server: &Server,
    parts: &Parts,
    body: Body,
    connection: &Connection,
) -> Answer {
    let read = |body| to_bytes(body, server.limits.body);
    match fault {
        Fault::Error {
            status,
            code,
            message,
        } => {
            let _ = read(body).await;
            Answer::error(*status, code, message)
        }
        Fault::Answer {
            status,
            headers,
            body: text,
        } => {
            let _ = read(body).await;
            let answer = Answer::untyped(
                StatusCode::from_u16(*status).unwrap(),
                text.clone().into_bytes(),
            );
            headers.iter().fold(answer, |answer, (name, value)| {
                answer.with(HeaderName::from_static(name), value)
            })
        }
        Fault::Hang => {
            let _ = read(body).await;
            server.store.note(super::Received::new(parts, 0));
            std::future::pending().await
        }
        Fault::StoreAndAnswerAfter(delay) => {
            let answer = answer_push(server, parts, body).await;
            tokio::time::sleep(*delay).await;
            answer
        }
        Fault::ResetBeforeBody => reset(connection),
        Fault::ResetAfterBody => {
            let _ = read(body).await;
            reset(connection)
        }
        Fault::StoreAndReset => {
            answer_push(server, parts, body).await;
            reset(connection)
        }
    }
}

/// The answer that is returned is never sent: the connection breaks at its first byte.
fn reset(connection: &Connection) -> Answer {
    connection.reset();
    Answer::empty(StatusCode::OK)
}
