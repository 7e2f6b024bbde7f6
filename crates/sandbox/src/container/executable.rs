//! The start of an executable that speaks for itself, as the images in front of such executables word it.

use std::time::Duration;

use chasen_entity::RawJson;
use chasen_entity::error_text::runtime::{
    BAD_ACKNOWLEDGEMENT, CANNOT_START, EXITED, EXITED_IN_INIT, NOT_STARTED,
};
use chasen_runtime::connection::{Body, Broken, LineConnection, Reply};
use chasen_runtime::personality::{BadCodeTexts, Personality};

use super::runtime::{Start, refused};
use crate::cell::Cell;

/// How long an executable that says nothing must live to count as started.
const START_GRACE: Duration = Duration::from_millis(5);
/// The native launcher's word right before it becomes the executable.
const STARTING: &[u8] = b"starting";

/// Lets the native launcher become the executable, and waits for its acknowledgement where it owes one. Elsewhere an
/// acknowledgement is welcome: those that give none count as started when they have lived for a moment.
pub(super) async fn start(
    connection: &mut LineConnection,
    cell: &Cell,
    start: &Start<'_>,
) -> Result<Reply, Broken> {
    connection.send(start.line().as_bytes()).await?;
    match connection.next_line().await? {
        Body::Whole(line) if line == STARTING => {}
        reason => return Ok(Reply::DeveloperError(reason)),
    }
    if start.acknowledged {
        return match connection.first_line().await {
            Ok(Body::Whole(line)) => Ok(acknowledged(&line)),
            Ok(Body::Cut { .. }) => Ok(refused(BAD_ACKNOWLEDGEMENT)),
            Err(Broken::Closed) => Ok(refused(EXITED_IN_INIT)),
            Err(broken) => Err(broken),
        };
    }
    tokio::select! {
        biased;
        said = connection.first_line() => match said {
            Ok(Body::Whole(line)) if is_error(&line) => Ok(Reply::DeveloperError(Body::Whole(line))),
            Ok(_) => Ok(Reply::Initialized),
            Err(Broken::Closed) => Ok(refused(&format!("{CANNOT_START}{EXITED}"))),
            Err(broken) => Err(broken),
        },
        _ = cell.exited() => Ok(refused(&format!("{CANNOT_START}{EXITED}"))),
        () = tokio::time::sleep(START_GRACE) => Ok(Reply::Initialized),
    }
}

/// What the first line of an executable means that must acknowledge its start.
fn acknowledged(line: &[u8]) -> Reply {
    let ok = RawJson::parse(line).map(|said| said.get("ok").is_some_and(|ok| ok.as_str() == "true"));
    match ok {
        Ok(true) => Reply::Initialized,
        Ok(false) if is_error(line) => Reply::DeveloperError(Body::Whole(line.to_vec())),
        Ok(false) => refused(BAD_ACKNOWLEDGEMENT),
        Err(error) => refused(&error.to_string()),
    }
}

fn is_error(line: &[u8]) -> bool {
    RawJson::parse(line).is_ok_and(|value| value.get("error").is_some())
}

/// What is said of an executable that did not start; `body` says why, as a caller would be told.
pub(super) fn not_started(personality: Personality, body: &[u8]) -> Option<BadCodeTexts> {
    if personality != Personality::ActionLoop {
        return None;
    }
    let error = RawJson::parse(body).ok()?;
    let why: String = serde_json::from_str(error.get("error")?.as_str()).ok()?;
    Some(BadCodeTexts { answer: NOT_STARTED.to_owned(), log: Some(why) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_read_as_the_contract_says() {
        let error = |reply: Reply| match reply {
            Reply::DeveloperError(Body::Whole(body)) => String::from_utf8(body).unwrap(),
            other => format!("{other:?}"),
        };
        assert!(matches!(acknowledged(b" { \"ok\" : true } "), Reply::Initialized));
        assert!(error(acknowledged(b"{}")).contains(BAD_ACKNOWLEDGEMENT));
        assert_eq!(error(acknowledged(br#"{"error":"why"}"#)), r#"{"error":"why"}"#);
        assert!(error(acknowledged(b"bad ack")).starts_with(r#"{"error":"#));
    }

    #[test]
    fn why_it_did_not_start_is_logged_where_images_do_that() {
        let texts = not_started(Personality::ActionLoop, br#"{"error":"why"}"#).unwrap();
        assert_eq!((texts.answer.as_str(), texts.log.as_deref()), (NOT_STARTED, Some("why")));
        assert_eq!(not_started(Personality::TerseActionLoop, br#"{"error":"why"}"#), None);
    }
}
