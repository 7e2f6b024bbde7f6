//! Creating and updating a package or a binding.

use chasen_entity::{
    Binding, EntityName, FullyQualifiedName, Location, Millis, Package, Parameters, Version, error_text,
};
use chasen_spi::Privilege;
use serde_json::value::RawValue;

use super::PACKAGES;
use crate::api::parameters;
use crate::api::put::{self, PutBody};
use crate::call::Call;
use crate::clock;
use crate::entities::{Batch, LoadError, optional};
use crate::wire::body::{Fields, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// Web actions outside of packages lie in a package of this name.
const RESERVED: &str = "default";
/// Annotation of bindings, kept by the platform.
const BINDING: &str = "binding";

/// `PUT …/packages/{name}`
pub(crate) async fn put(
    call: &Call<'_>,
    name: FullyQualifiedName,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Put, PACKAGES, &name).await?.required()?;
    if name.name.as_str() == RESERVED {
        return Err(ApiError::bad_request(error_text::reserved_package(RESERVED)));
    }
    let namespace = EntityName::new(name.path.namespace()).ok_or_else(ApiError::internal)?;
    let (common, binding) = put::receive(call, body, move |fields| read_binding(fields, &namespace)).await?;
    let overwrite = call.query.flag("overwrite", false)?;
    let target = match &binding {
        Some(binding) => Some(Target::of(call, binding).await?),
        None => None,
    };
    let found = optional(call.controller.entities.load::<Package>(&name).await)?;
    if found.is_some() && !overwrite {
        return Err(ApiError::conflict(error_text::EXISTS));
    }
    let (old, revision) = found.map(|stored| (stored.entity, stored.revision)).unzip();
    let package = apply(common, binding, &name, old, clock::now())?;
    if let Some(target) = target {
        target.required()?;
    }
    let parameters = parameters::opened(call, package.parameters.clone()).await?;
    let answer = call.render(&Package { parameters, ..package.clone() })?;
    let parameters = parameters::lock(call, package.parameters.clone()).await?;
    let batch = Batch::default().put(&Package { parameters, ..package }, revision.unwrap_or(0))?;
    batch.commit(call.controller).await?;
    call.prepared(answer)
}

/// The package after this request.
fn apply(
    common: PutBody,
    binding: Option<Binding>,
    name: &FullyQualifiedName,
    old: Option<Package>,
    now: Millis,
) -> Result<Package, ApiError> {
    let mut package = match old {
        Some(old) => {
            if old.binding.is_none() && binding.is_some() {
                return Err(ApiError::conflict(error_text::NOT_CONVERTIBLE));
            }
            Package { binding: binding.or(old.binding), version: old.version.next_patch(), ..old }
        }
        None => Package {
            location: Location { namespace: name.path.clone(), name: name.name.clone() },
            binding,
            parameters: Parameters::new(),
            version: Version::default(),
            publish: false,
            annotations: Parameters::new(),
            updated: now,
        },
    };
    package.parameters = common.parameters.unwrap_or(package.parameters);
    package.annotations = common.annotations.unwrap_or(package.annotations);
    package.annotations.remove(&[BINDING.to_owned()]);
    if let Some(binding) = &package.binding {
        package.annotations.set(BINDING, binding);
    }
    package.version = common.version.unwrap_or(package.version);
    package.publish = common.publish.unwrap_or(package.publish);
    package.updated = now;
    Ok(package)
}

/// What a binding is to stand for, as far as the caller is told.
struct Target(Result<(), ApiError>);

impl Target {
    /// Looks for it. What the caller may not read is an error at once; what else speaks against it waits until the
    /// package itself has been looked at.
    async fn of(call: &Call<'_>, binding: &Binding) -> Result<Self, ApiError> {
        let name = binding.qualified();
        Ok(Self(match call.rights().package(&name).await {
            Ok(verdict) => {
                verdict.required()?;
                Self::is_package(call, &name).await
            }
            Err(LoadError::Store(error)) => return Err(error.into()),
            Err(error) => Err(refusal(error)),
        }))
    }

    async fn is_package(call: &Call<'_>, name: &FullyQualifiedName) -> Result<(), ApiError> {
        let (package, _) = call.controller.entities.package(name).await.map_err(refusal)?;
        match package.binding {
            Some(_) => Err(ApiError::bad_request(error_text::BINDING_OF_BINDING)),
            None => Ok(()),
        }
    }

    fn required(self) -> Result<(), ApiError> {
        self.0
    }
}

/// Why something cannot be bound to.
fn refusal(error: LoadError) -> ApiError {
    match error {
        LoadError::Missing => ApiError::bad_request(error_text::BINDING_WITHOUT_PACKAGE),
        LoadError::WrongType => ApiError::conflict(error_text::BINDING_OF_OTHER),
        error => error.into(),
    }
}

/// Reads `binding`: `{}` is none. `_` is the namespace of the package.
fn read_binding(fields: &Fields<'_>, namespace: &EntityName) -> Result<Option<Binding>, ApiError> {
    let Some(value) = fields.get(BINDING) else { return Ok(None) };
    if Fields::of(value).is_some_and(|fields| fields.is_empty()) {
        return Ok(None);
    }
    let member = |key: &str| member(value, key).map_err(ApiError::malformed);
    let own = |name: EntityName| if name.as_str() == "_" { namespace.clone() } else { name };
    Ok(Some(Binding { namespace: own(member("namespace")?), name: member("name")? }))
}

fn member(binding: &RawValue, key: &str) -> Result<EntityName, String> {
    let fields = Fields::of(binding).ok_or("Object expected in field 'namespace'")?;
    let value = fields.get(key).ok_or_else(|| format!("Object is missing required member '{key}'"))?;
    serde_json::from_str(value.get()).map_err(|_| "entity name malformed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_objects_of_two_names_or_none() {
        let read = |binding: &str| {
            let body = format!(r#"{{"binding":{binding}}}"#);
            let fields = Fields::of_body(body.as_bytes(), "exec").unwrap();
            let read = read_binding(&fields, &EntityName::new("guest").unwrap());
            read.map(|binding| binding.map(|binding| binding.qualified().to_string()))
                .map_err(|error| error.text().replacen("The request content was malformed:\n", "", 1))
        };
        for (binding, expected) in [
            ("{}", Ok(None)),
            (r#"{"namespace":"_","name":"p"}"#, Ok(Some("guest/p".to_owned()))),
            (r#"{"namespace":"alice","name":"_","more":1}"#, Ok(Some("alice/_".to_owned()))),
            ("null", Err("Object expected in field 'namespace'")),
            ("[]", Err("Object expected in field 'namespace'")),
            (r#""alice/p""#, Err("Object expected in field 'namespace'")),
            (r#"{"name":"p"}"#, Err("Object is missing required member 'namespace'")),
            (r#"{"namespace":"alice"}"#, Err("Object is missing required member 'name'")),
            (r#"{"namespace":1,"name":"p"}"#, Err("entity name malformed")),
            (r#"{"namespace":"a","name":"a/b"}"#, Err("entity name malformed")),
        ] {
            assert_eq!(read(binding), expected.map_err(str::to_owned), "{binding}");
        }
    }
}
