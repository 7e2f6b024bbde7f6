//! Where actions lie.

use chasen_entity::{EntityName, EntityPath, FullyQualifiedName};

use super::LoadError;
use crate::wire::error::ApiError;

/// Where an action lies, as a path or a name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionAddress {
    pub(crate) namespace: EntityName,
    pub(crate) package: Option<EntityName>,
    pub(crate) name: EntityName,
}

impl ActionAddress {
    /// `ns` or `ns/package`.
    pub(crate) fn path(&self) -> EntityPath {
        match &self.package {
            Some(package) => EntityPath::package(&self.namespace, package),
            None => EntityPath::root(&self.namespace),
        }
    }

    /// The package, as the name of an entity.
    pub(crate) fn package_name(&self) -> Option<FullyQualifiedName> {
        let package = self.package.as_ref()?;
        Some(FullyQualifiedName::new(EntityPath::root(&self.namespace), package.clone()))
    }

    /// The error of a request that reads what lies here: a missing package is named.
    pub(crate) fn explain(&self, error: LoadError) -> ApiError {
        match self.package_name() {
            Some(package) => error.of_package(&package),
            None => error.into(),
        }
    }

    /// The address that a name stands for: `ns/action` or `ns/package/action`.
    pub(crate) fn of(name: &FullyQualifiedName) -> Option<Self> {
        let namespace = EntityName::new(name.path.namespace())?;
        let package = name.path.package_name().map(EntityName::new);
        let package = match package {
            None => None,
            Some(package) => Some(package?),
        };
        Some(Self { namespace, package, name: name.name.clone() })
    }

    /// The address as the name of an entity.
    pub(crate) fn qualified(&self) -> FullyQualifiedName {
        FullyQualifiedName::new(self.path(), self.name.clone())
    }
}
