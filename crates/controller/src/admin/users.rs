//! Subjects and limits at the operator's door.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::AdminCall;
use super::limits;
use super::subjects::{self, KeyWish};
use crate::wire::body::RequestBody;
use crate::wire::error::ApiError;
use crate::wire::percent;
use crate::wire::reply::Reply;

type Answer = Result<Reply, ApiError>;

/// Credentials, of which nobody should find some in a log of paths.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    auth: String,
}

/// `GET /users/{subject}`
pub(super) async fn get(call: &AdminCall<'_>, subject: &str) -> Answer {
    Ok(call.success(&subjects::get(call.subjects(), &percent::decode(subject)).await?))
}

/// `DELETE /users/{subject}`
pub(super) async fn delete(call: &AdminCall<'_>, subject: &str) -> Answer {
    let subject = percent::decode(subject);
    let _turn = call.turn().await;
    subjects::delete(call.subjects(), &subject).await?;
    tracing::info!(%subject, "an operator deleted a subject");
    Ok(call.success(&json!({ "subject": subject })))
}

/// `POST /users/{subject}/block`, `…/unblock`
pub(super) async fn set_blocked(call: &AdminCall<'_>, subject: &str, blocked: bool) -> Answer {
    let subject = percent::decode(subject);
    let _turn = call.turn().await;
    subjects::set_blocked(call.subjects(), &subject, blocked).await?;
    tracing::info!(%subject, blocked, "an operator blocked or unblocked a subject");
    Ok(call.success(&json!({ "subject": subject, "blocked": blocked })))
}

/// `GET /users/{subject}/namespaces/{ns}`
pub(super) async fn key(call: &AdminCall<'_>, subject: &str, namespace: &str) -> Answer {
    let (subject, namespace) = (percent::decode(subject), percent::decode(namespace));
    Ok(call.success(&subjects::key(call.subjects(), &subject, Some(&namespace)).await?))
}

/// `PUT /users/{subject}/namespaces/{ns}`
pub(super) async fn create(
    call: &AdminCall<'_>,
    subject: &str,
    namespace: &str,
    body: RequestBody<'_>,
) -> Answer {
    let wish: KeyWish = call.document(body).await?;
    let (subject, namespace) = (percent::decode(subject), percent::decode(namespace));
    let _turn = call.turn().await;
    let key = subjects::create(call.subjects(), &subject, Some(&namespace), &wish).await?;
    tracing::info!(%subject, %namespace, renewed = wish.revoke, "an operator gave a key");
    Ok(call.success(&key))
}

/// `DELETE /users/{subject}/namespaces/{ns}`
pub(super) async fn delete_namespace(call: &AdminCall<'_>, subject: &str, namespace: &str) -> Answer {
    let (subject, namespace) = (percent::decode(subject), percent::decode(namespace));
    let _turn = call.turn().await;
    subjects::delete_namespace(call.subjects(), &subject, &namespace).await?;
    tracing::info!(%subject, %namespace, "an operator deleted a namespace of a subject");
    Ok(call.success(&json!({ "subject": subject, "namespace": namespace })))
}

/// `POST /whois`
pub(super) async fn whois(call: &AdminCall<'_>, body: RequestBody<'_>) -> Answer {
    let Credentials { auth } = call.document(body).await?;
    Ok(call.success(&subjects::whois(call.subjects(), &auth).await?))
}

/// `GET /namespaces/{ns}/users`
pub(super) async fn holders(call: &AdminCall<'_>, namespace: &str) -> Answer {
    Ok(call.success(&subjects::holders(call.subjects(), &percent::decode(namespace)).await?))
}

/// `GET /namespaces/{ns}/limits`: those that are set; `{}` is not the same as none.
pub(super) async fn limits(call: &AdminCall<'_>, namespace: &str) -> Answer {
    let limits = limits::get(call.subjects(), &percent::decode(namespace)).await?;
    limits.map(|limits| call.success(&limits)).ok_or_else(ApiError::not_found)
}

/// `PUT` and, merging, `PATCH /namespaces/{ns}/limits`
pub(super) async fn set_limits(
    call: &AdminCall<'_>,
    namespace: &str,
    body: RequestBody<'_>,
    merge: bool,
) -> Answer {
    let document: Value = call.document(body).await?;
    let namespace = percent::decode(namespace);
    let _turn = call.turn().await;
    let limits = limits::set(call.subjects(), &namespace, &document, merge).await?;
    tracing::info!(%namespace, "an operator set the limits of a namespace");
    Ok(call.success(&limits))
}

/// `DELETE /namespaces/{ns}/limits`
pub(super) async fn delete_limits(call: &AdminCall<'_>, namespace: &str) -> Answer {
    let namespace = percent::decode(namespace);
    let _turn = call.turn().await;
    limits::delete(call.subjects(), &namespace).await?;
    tracing::info!(%namespace, "an operator deleted the limits of a namespace");
    Ok(call.success(&json!({ "namespace": namespace })))
}
