//! What a caller may do: everything with what lies in its own namespace, reading and invoking what others share, and
//! whatever the [`Entitlement`] socket grants beyond.

use chasen_entity::{EntityName, FullyQualifiedName, Identity};
use chasen_spi::{Collection, Entitlement, Privilege, Resource};

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
    /// Refused, with the path that a 403 names.
    Refused(String),
}

impl Verdict {
    /// Of several: a refusal of any names all that were refused, in order of their paths.
    pub(crate) fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let refused = |verdict| match verdict {
            Self::Allowed => None,
            Self::Refused(path) => Some(path),
        };
        let mut refused: Vec<String> = verdicts.into_iter().filter_map(refused).collect();
        refused.sort_unstable();
        refused.dedup();
        if refused.is_empty() { Self::Allowed } else { Self::Refused(refused.join(", ")) }
    }

    /// 403 for a refusal.
    pub(crate) fn required(self) -> Result<(), ApiError> {
        match self {
            Self::Allowed => Ok(()),
            Self::Refused(path) => Err(ApiError::forbidden(&path)),
        }
    }
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
    ) -> Result<Verdict, ApiError> {
        self.owned(privilege, collection, namespace.as_str(), None, || namespace.to_string()).await
    }

    /// Something in a namespace that is its owner's alone: a trigger, a rule, a record.
    pub(crate) async fn entity(
        &self,
        privilege: Privilege,
        collection: &'static str,
        name: &FullyQualifiedName,
    ) -> Result<Verdict, ApiError> {
        let within = || match name.path.package_name() {
            Some(package) => format!("{package}/{}", name.name),
            None => name.name.to_string(),
        };
        self.owned(privilege, collection, name.path.namespace(), Some(&within), || name.to_string()).await
    }

    /// An action. Reading and invoking one in a package is the package's affair.
    pub(crate) async fn action(
        &self,
        privilege: Privilege,
        address: &ActionAddress,
    ) -> Result<Verdict, ApiError> {
        match (privilege, address.package_name()) {
            (Privilege::Read | Privilege::Activate, Some(package)) => self.package(&package).await,
            _ => self.entity(privilege, Collection::Actions.as_str(), &address.qualified()).await,
        }
    }

    /// Reading a package, which opens the actions in it. A package is its owner's and, once published, everybody's; a
    /// binding is its owner's who may read what it stands for.
    pub(crate) async fn package(&self, name: &FullyQualifiedName) -> Result<Verdict, ApiError> {
        let owner = self.owns(name.path.namespace());
        let refused = || Verdict::Refused(name.to_string());
        let package = match self.entities.package(name).await {
            Ok((package, _)) => package,
            Err(LoadError::Store(error)) => return Err(error.into()),
            Err(error) if owner => return Err(error.into()),
            // Who may not see it is not told whether it exists.
            Err(_) => return Ok(refused()),
        };
        let Some(binding) = &package.binding else {
            if package.publish {
                return Ok(Verdict::Allowed);
            }
            return self.entity(Privilege::Read, Collection::Packages.as_str(), name).await;
        };
        let verdict = self.entity(Privilege::Read, Collection::Packages.as_str(), name).await?;
        if verdict != Verdict::Allowed {
            return Ok(verdict);
        }
        let target = binding.qualified();
        if target == *name {
            return Err(LoadError::Circular(name.to_string()).into());
        }
        let readable = Box::pin(self.package(&target)).await?;
        Ok(if readable == Verdict::Allowed { readable } else { refused() })
    }

    async fn owned(
        &self,
        privilege: Privilege,
        collection: &'static str,
        namespace: &str,
        entity: Option<&(dyn Fn() -> String + Sync)>,
        path: impl FnOnce() -> String,
    ) -> Result<Verdict, ApiError> {
        if self.owns(namespace) {
            return Ok(Verdict::Allowed);
        }
        let namespace = namespace.to_owned();
        let resource = Resource { collection, namespace, entity: entity.map(|entity| entity()) };
        let granted = self.grants.is_granted(self.identity, privilege, &resource).await?;
        Ok(if granted { Verdict::Allowed } else { Verdict::Refused(path()) })
    }
}
