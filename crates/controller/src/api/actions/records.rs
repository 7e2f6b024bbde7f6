//! What the activations of one action have left: which records they are, and what two addresses mean.
//!
//! `…/actions/{name}/logs` was always the address of an action `logs` in a package `{name}`, and stays so wherever
//! there is such a package. Names of packages and actions are one set, so nothing is hidden by that: what `{name}`
//! stands for decides.

use std::ops::ControlFlow;
use std::sync::Arc;

use chasen_entity::{Activation, Millis};
use chasen_spi::{ActivationQuery, Privilege, RecordVisitor};
use parking_lot::Mutex;
use serde::Serialize;

use super::{get, logs, summary};
use crate::api::activations;
use crate::call::Call;
use crate::entities::{ActionAddress, LoadError};
use crate::entitle::Verdict;
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// What is told of the activations of an action.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    Logs,
    Summary,
}

impl Told {
    /// The last segment of its address.
    fn segment(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Summary => "summary",
        }
    }
}

/// `GET …/actions/{name}/{told}`
pub(crate) async fn tell_by_name(
    call: &Call<'_>,
    namespace: &str,
    name: &str,
    told: Told,
) -> Result<Reply, ApiError> {
    let action = call.action(namespace, None, name)?;
    if is_meant(call, &action).await? {
        tell(call, action, told).await
    } else {
        get(call, call.action(namespace, Some(name), told.segment())?).await
    }
}

/// `GET …/actions/{package}/{name}/{told}`
pub(crate) async fn tell(call: &Call<'_>, action: ActionAddress, told: Told) -> Result<Reply, ApiError> {
    let (collection, namespace) = (activations::COLLECTION, &action.namespace);
    call.rights().collection(Privilege::Read, collection, namespace).await?.required()?;
    let query = query(call, &action)?;
    match told {
        Told::Logs => logs::answer(call, &action, query).await,
        Told::Summary => summary::answer(call, &action, query).await,
    }
}

/// True if a name at the place of a package is an action's: one that there is, or, where nothing has the name, one that
/// has left records.
async fn is_meant(call: &Call<'_>, action: &ActionAddress) -> Result<bool, ApiError> {
    let rights = call.rights();
    let verdict = rights.collection(Privilege::Read, activations::COLLECTION, &action.namespace).await?;
    if verdict != Verdict::Allowed {
        return Ok(false);
    }
    match call.controller.entities.resolve_action(action).await {
        Ok(_) => Ok(true),
        Err(LoadError::Missing) => has_records(call, action).await,
        Err(_) => Ok(false),
    }
}

/// Refuses an action that is not there and never ran. Called where no record was found.
pub(super) async fn require_known(call: &Call<'_>, action: &ActionAddress) -> Result<(), ApiError> {
    let entities = &call.controller.entities;
    let Err(error) = entities.resolve_action(action).await else { return Ok(()) };
    if has_records(call, action).await? {
        return Ok(());
    }
    // Is it the package that is not there?
    if let Some(package) = action.package_name() {
        entities.resolve_package(&package).await.map_err(|error| action.explain(error))?;
    }
    Err(error.into())
}

/// True if there is a record of the action, of whatever time.
async fn has_records(call: &Call<'_>, action: &ActionAddress) -> Result<bool, ApiError> {
    let any = ActivationQuery { limit: 1, ..of(action) };
    Ok(!call.controller.activations.list(&any).await?.is_empty())
}

/// The records that the request is about; how many, the answer decides.
fn query(call: &Call<'_>, action: &ActionAddress) -> Result<ActivationQuery, ApiError> {
    let (since, upto) = call.query.times()?;
    Ok(ActivationQuery { since, upto, ..of(action) })
}

/// All records of an action: those that lists find by its name.
fn of(action: &ActionAddress) -> ActivationQuery {
    let name = match &action.package {
        Some(package) => format!("{package}/{}", action.name),
        None => action.name.to_string(),
    };
    let namespace = action.namespace.to_string();
    ActivationQuery { namespace, name: Some(name), ..ActivationQuery::default() }
}

/// Which activations an answer is about.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Extent {
    /// How many.
    pub(super) activations: u64,
    /// Start of the oldest one, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Millis>,
    /// Start of the newest one, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upto: Option<Millis>,
    /// True if the time that was asked for has older ones.
    pub(super) more: bool,
}

impl Extent {
    /// Takes in the next record, newest first.
    pub(super) fn add(&mut self, record: &Activation) {
        self.activations += 1;
        self.since = Some(record.start);
        self.upto.get_or_insert(record.start);
    }
}

/// Reads records, newest first, into something, until that has enough.
pub(super) async fn read_into<T: Default + Send + 'static>(
    call: &Call<'_>,
    query: &ActivationQuery,
    mut take: impl FnMut(&mut T, &Activation) -> ControlFlow<()> + Send + 'static,
) -> Result<T, ApiError> {
    let _turn = call.turn().await;
    let taken = Arc::new(Mutex::new(T::default()));
    let shared = taken.clone();
    let visitor: RecordVisitor = Box::new(move |record| take(&mut shared.lock(), record));
    call.controller.activations.visit(query, visitor).await?;
    Ok(std::mem::take(&mut *taken.lock()))
}
