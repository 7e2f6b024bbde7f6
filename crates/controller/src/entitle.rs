//! What a caller may do: everything with what lies in its own namespace, reading and invoking what others share, and
//! whatever the [`Entitlement`] socket grants beyond.

use std::collections::BTreeSet;
use std::sync::Arc;

use chasen_entity::{EntityName, FullyQualifiedName, Identity, Package};
use chasen_spi::{Collection, Entitlement, Privilege, Resource, StoreError};

use crate::entities::{ActionAddress, Entities, LoadError};
use crate::wire::error::ApiError;

/// The rights of one identity.
#[derive(Clone, Copy)]
pub(crate) struct Rights<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) entities: &'a Entities,
    pub(crate) grants: &'a dyn Entitlement,
}

/// What a check says where nothing fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// Refused, with the paths that a 403 names.
    Refused(BTreeSet<String>),
}

impl Verdict {
    fn refused(path: impl ToString) -> Self {
        Self::Refused(BTreeSet::from([path.to_string()]))
    }

    /// 403 for a refusal.
    pub(crate) fn required(self) -> Result<(), ApiError> {
        match self {
            Self::Allowed => Ok(()),
            Self::Refused(paths) => {
                Err(ApiError::forbidden(&paths.into_iter().collect::<Vec<_>>().join(", ")))
            }
        }
    }
}

/// The verdict on several things that are needed together: a refusal of any names all that were refused.
pub(crate) fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let refused = |verdict| match verdict {
        Verdict::Allowed => BTreeSet::new(),
        Verdict::Refused(paths) => paths,
    };
    let paths: BTreeSet<String> = verdicts.into_iter().flat_map(refused).collect();
    if paths.is_empty() { Verdict::Allowed } else { Verdict::Refused(paths) }
}

impl Rights<'_> {
    /// True if the namespace is the caller's own.
    pub(crate) fn owns(&self, namespace: &str) -> bool {
        self.identity.namespace.name.as_str() == namespace
    }

    /// A whole collection of a namespace, which is the owner's.
    pub(crate) async fn collection(
        &self,
        privilege: Privilege,
        collection: &'static str,
        namespace: &EntityName,
    ) -> Result<Verdict, LoadError> {
        let allowed = self.owned(privilege, collection, namespace.as_str(), None).await?;
        Ok(if allowed { Verdict::Allowed } else { Verdict::refused(namespace) })
    }

    /// Something in a namespace that is its owner's alone: a trigger, a rule, a record, or the writing of anything.
    pub(crate) async fn entity(
        &self,
        privilege: Privilege,
        collection: &'static str,
        name: &FullyQualifiedName,
    ) -> Result<Verdict, LoadError> {
        let allowed = self.owned(privilege, collection, name.path.namespace(), Some(name)).await?;
        Ok(if allowed { Verdict::Allowed } else { Verdict::refused(name) })
    }

    /// An action. Reading and invoking one in a package is the package's affair.
    pub(crate) async fn action(
        &self,
        privilege: Privilege,
        address: &ActionAddress,
    ) -> Result<Verdict, LoadError> {
        match (privilege, address.package_name()) {
            (Privilege::Read | Privilege::Activate, Some(package)) => self.package(&package).await,
            _ => self.entity(privilege, Collection::Actions.as_str(), &address.qualified()).await,
        }
    }

    /// Reading a package, which opens the actions in it. A package is its owner's and, once published, everybody's; a
    /// binding is its owner's who may read what it stands for. An owner is told what is wrong with a package; who may
    /// not see it is not even told whether it exists.
    pub(crate) async fn package(&self, name: &FullyQualifiedName) -> Result<Verdict, LoadError> {
        let Some(package) = self.readable(name).await? else { return Ok(Verdict::refused(name)) };
        let Some(binding) = &package.binding else { return Ok(Verdict::Allowed) };
        let target = binding.qualified();
        if target == *name {
            return Err(LoadError::Circular(name.to_string()));
        }
        match self.readable(&target).await? {
            None => Ok(Verdict::refused(name)),
            Some(provider) if provider.binding.is_some() => Err(LoadError::NestedBinding),
            Some(_) => Ok(Verdict::Allowed),
        }
    }

    /// The package, or nothing if the caller may not read it. What a binding stands for is not looked at.
    async fn readable(&self, name: &FullyQualifiedName) -> Result<Option<Arc<Package>>, LoadError> {
        let namespace = name.path.namespace();
        let package = match self.entities.package(name).await {
            Ok((package, _)) => package,
            Err(LoadError::Store(error)) => return Err(error.into()),
            Err(error) if self.owns(namespace) => return Err(error),
            Err(_) => return Ok(None),
        };
        let collection = Collection::Packages.as_str();
        let allowed =
            package.is_public() || self.owned(Privilege::Read, collection, namespace, Some(name)).await?;
        Ok(allowed.then_some(package))
    }

    async fn owned(
        &self,
        privilege: Privilege,
        collection: &'static str,
        namespace: &str,
        name: Option<&FullyQualifiedName>,
    ) -> Result<bool, StoreError> {
        if self.owns(namespace) {
            return Ok(true);
        }
        let within = |name: &FullyQualifiedName| match name.path.package_name() {
            Some(package) => format!("{package}/{}", name.name),
            None => name.name.to_string(),
        };
        let resource = Resource { collection, namespace: namespace.to_owned(), entity: name.map(within) };
        self.grants.is_granted(self.identity, privilege, &resource).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_together_name_every_path_once_in_order() {
        assert_eq!(all([Verdict::Allowed, Verdict::Allowed]), Verdict::Allowed);
        let several = all(["b/x", "a/y", "b/x"].map(Verdict::refused).into_iter().chain([Verdict::Allowed]));
        let text = several.required().unwrap_err().text().to_owned();
        assert_eq!(text, "The supplied authentication is not authorized to access 'a/y, b/x'.");
    }
}
