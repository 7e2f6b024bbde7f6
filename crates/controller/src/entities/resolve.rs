//! Actions as invocations find them: through packages and bindings, whose parameters lie beneath the action's own.

use std::sync::Arc;

use chasen_entity::{EntityPath, FullyQualifiedName, Package, Parameters, Revision};

use super::cache::Cached;
use super::{ActionAddress, Entities, LoadError, ResolvedAction};

/// A package as the actions in it see it.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedPackage {
    /// The package that holds the actions: the provider of a binding.
    pub(crate) provider: Arc<Package>,
    /// The binding it was reached through.
    pub(crate) binding: Option<Arc<Package>>,
    /// Revisions of provider and binding.
    revisions: [Revision; 2],
}

impl ResolvedPackage {
    /// `ns/package` of the provider.
    pub(crate) fn path(&self) -> EntityPath {
        self.provider.location.qualified().into_path()
    }

    /// `ns/binding`, if it was reached through one.
    pub(crate) fn binding_name(&self) -> Option<String> {
        self.binding.as_ref().map(|binding| binding.location.qualified().to_string())
    }

    /// Parameters of the provider overlaid with those of the binding.
    pub(crate) fn parameters(&self) -> Parameters {
        let beneath = self.provider.parameters.clone();
        match &self.binding {
            Some(binding) => beneath.merged_with(binding.parameters.clone()),
            None => beneath,
        }
    }
}

impl Entities {
    /// A package and, if it is a binding, what it stands for.
    pub(crate) async fn resolve_package(
        &self,
        name: &FullyQualifiedName,
    ) -> Result<ResolvedPackage, LoadError> {
        let (package, revision) = self.package(name).await?;
        let Some(target) = &package.binding else {
            return Ok(ResolvedPackage { provider: package, binding: None, revisions: [revision, 0] });
        };
        let target = target.qualified();
        if target == *name {
            return Err(LoadError::Circular(name.to_string()));
        }
        let (provider, provided) = self.package(&target).await?;
        if provider.binding.is_some() {
            return Err(LoadError::NestedBinding);
        }
        Ok(ResolvedPackage { provider, binding: Some(package), revisions: [provided, revision] })
    }

    /// The action at this address ready to be invoked. A missing package is a missing action.
    pub(crate) async fn resolve_action(
        &self,
        address: &ActionAddress,
    ) -> Result<Arc<ResolvedAction>, LoadError> {
        let Some(package) = address.package_name() else {
            return Ok(self.action(address.qualified()).await?.0);
        };
        let known = self.merged.known();
        let package = self.resolve_package(&package).await?;
        let stored = FullyQualifiedName::new(package.path(), address.name.clone());
        let (action, revision) = self.action(stored).await?;
        let [provided, bound] = package.revisions;
        let made_from = [revision, provided, bound];
        let name = address.qualified();
        if let Some(action) = known.get(&name, &made_from) {
            return Ok(action);
        }
        let resolved = Arc::new(action.inside(package.parameters(), package.binding_name()));
        self.merged.remember(&known, name, made_from, resolved.clone());
        Ok(resolved)
    }

    async fn action(&self, name: FullyQualifiedName) -> Result<(Arc<ResolvedAction>, Revision), LoadError> {
        let found = self.find(&name).await?;
        match found.entity {
            Cached::Action(action) => Ok((action, found.revision)),
            _ => Err(LoadError::WrongType),
        }
    }
}
