//! Packages: folders of actions with parameters of their own, and bindings to other packages.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{EntityName, EntityPath, FullyQualifiedName, Location, Millis, Parameters, Version};

/// A stored package or binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Namespace and name.
    #[serde(flatten)]
    pub location: Location,
    /// The package that this one stands for; `{}` in documents of packages that are none.
    #[serde(default, with = "binding")]
    pub binding: Option<Binding>,
    /// Default arguments of the actions in it.
    #[serde(default)]
    pub parameters: Parameters,
    /// Version that clients see.
    pub version: Version,
    /// Visible to other namespaces.
    #[serde(default)]
    pub publish: bool,
    /// Annotations.
    #[serde(default)]
    pub annotations: Parameters,
    /// Last write, epoch milliseconds.
    pub updated: Millis,
}

/// The package that a binding stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// Its namespace.
    pub namespace: EntityName,
    /// Its name.
    pub name: EntityName,
}

impl Binding {
    /// That package, as the name of an entity.
    #[must_use]
    pub fn qualified(&self) -> FullyQualifiedName {
        FullyQualifiedName::new(EntityPath::root(&self.namespace), self.name.clone())
    }
}

impl Package {
    /// True if others may see and use it. A binding is its owner's alone.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.publish && self.binding.is_none()
    }
}

mod binding {
    use super::{Binding, Deserialize, Deserializer, Serialize, Serializer};
    use crate::EntityName;

    #[derive(Serialize, Deserialize)]
    struct Fields {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<EntityName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<EntityName>,
    }

    pub(super) fn serialize<S: Serializer>(
        binding: &Option<Binding>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (namespace, name) = binding.clone().map(|it| (it.namespace, it.name)).unzip();
        Fields { namespace, name }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Binding>, D::Error> {
        let Fields { namespace, name } = Fields::deserialize(deserializer)?;
        Ok(namespace.zip(name).map(|(namespace, name)| Binding { namespace, name }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_show_whether_a_package_is_a_binding() {
        for (binding, public) in [("{}", true), (r#"{"namespace":"whisk.system","name":"utils"}"#, false)] {
            let text = format!(
                r#"{{"namespace":"guest","name":"p","binding":{binding},"parameters":[],"version":"0.0.1","publish":true,"annotations":[],"updated":1}}"#
            );
            let package: Package = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&package).unwrap(), text);
            assert_eq!(package.is_public(), public);
        }
    }
}
