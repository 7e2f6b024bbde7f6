//! Kinds, changed while the node runs: checked, kept for the next start, and put in force as a whole, or not at all.

use std::sync::Arc;

use chasen_entity::Manifest;

use super::call::AdminCall;
use super::{AdminError, kinds};
use crate::aside;
use crate::controller::Controller;
use crate::wire::body::RequestBody;
use crate::wire::error::ApiError;
use crate::wire::percent;
use crate::wire::reply::Reply;

type Answer = Result<Reply, ApiError>;

/// `GET /runtimes`
pub(super) fn get(call: &AdminCall<'_>) -> Reply {
    call.success(&*call.controller.runtimes.whole())
}

/// `GET /runtimes/{kind}`
pub(super) fn get_kind(call: &AdminCall<'_>, kind: &str) -> Answer {
    let manifest = call.controller.runtimes.whole();
    let kind = manifest.resolve(&percent::decode(kind)).ok_or_else(ApiError::not_found)?;
    Ok(call.success(kind))
}

/// `PUT /runtimes`: the whole manifest.
pub(super) async fn put(call: &AdminCall<'_>, body: RequestBody<'_>) -> Answer {
    let text = call.body(body).await?;
    change(call, move |_| kinds::read_manifest(&text)).await
}

/// `DELETE /runtimes`: back to what the node starts with.
pub(super) async fn reset(call: &AdminCall<'_>) -> Answer {
    let (controller, admin) = (call.controller.clone(), call.admin.clone());
    let done = aside::finish(async move {
        let _turn = admin.changing.lock().await;
        let manifest = admin.keeper.forget().await?;
        Ok(enforce(&controller, manifest))
    });
    Ok(call.success(&*done.await?))
}

/// `PUT /runtimes/{kind}`: adds a kind, or puts it in place of what there was.
pub(super) async fn put_kind(call: &AdminCall<'_>, kind: &str, body: RequestBody<'_>) -> Answer {
    let name = percent::decode(kind).into_owned();
    let text = call.body(body).await?;
    change(call, move |manifest| kinds::with_kind(manifest, &name, &text)).await
}

/// `DELETE /runtimes/{kind}`
pub(super) async fn delete_kind(call: &AdminCall<'_>, kind: &str) -> Answer {
    let name = percent::decode(kind).into_owned();
    change(call, move |manifest| kinds::without_kind(manifest, &name)).await
}

/// Makes a manifest of the one in force and puts it in its place, whether the client still waits or not.
async fn change(
    call: &AdminCall<'_>,
    make: impl FnOnce(Manifest) -> Result<Manifest, AdminError> + Send + 'static,
) -> Answer {
    let (controller, admin) = (call.controller.clone(), call.admin.clone());
    let done = aside::finish(async move {
        let _turn = admin.changing.lock().await;
        let present = controller.runtimes.whole();
        let manifest = admin.keeper.complete(make(Manifest::clone(&present))?);
        kinds::check_news(&*admin.keeper, &present, &manifest)?;
        admin.keeper.keep(&manifest).await?;
        Ok(enforce(&controller, manifest))
    });
    Ok(call.success(&*done.await?))
}

fn enforce(controller: &Controller, manifest: Manifest) -> Arc<Manifest> {
    controller.runtimes.replace(manifest);
    // What is prepared from now on knows the new kinds; what was prepared is forgotten.
    controller.entities.runtimes_changed();
    let manifest = controller.runtimes.whole();
    let kinds: Vec<&str> = manifest.kinds().map(|kind| kind.kind.as_str()).collect();
    tracing::info!(?kinds, "an operator changed the kinds");
    manifest
}
