//! Sequences as they are created: what their components must be.

use std::collections::{HashMap, HashSet};
use std::fmt;

use chasen_entity::{EntityName, EntityPath, FullyQualifiedName, Parameters, error_text};
use chasen_spi::Privilege;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::activate::most_nested;
use crate::call::Call;
use crate::entities::{ActionAddress, Entities, LoadError};
use crate::entitle;
use crate::wire::body::Fields;
use crate::wire::error::ApiError;

/// Parameter of every sequence that tells its components.
const COMPONENTS: &str = "_actions";

/// Reads `components`: names as texts or as objects, `_` standing for the caller's namespace. Of a list that is too
/// long anyway only the beginning is read. The error is the reason for the client.
pub(super) fn read_components(
    value: Option<&RawValue>,
    own: &EntityName,
    most: u32,
) -> Result<Vec<FullyQualifiedName>, String> {
    let value = value.ok_or(error_text::COMPONENTS_UNDEFINED)?;
    let mut deserializer = serde_json::Deserializer::from_str(value.get());
    let sent = Beginning { most: usize::try_from(most).unwrap_or(usize::MAX) };
    let sent = deserializer.deserialize_seq(sent).map_err(|_| error_text::COMPONENTS_NO_ARRAY)?;
    sent.into_iter().map(|one| read_name(one).map(|name| name.resolved(own))).collect()
}

/// The first elements of an array, one more than `most` at most.
struct Beginning {
    most: usize,
}

impl<'de> Visitor<'de> for Beginning {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut first = Vec::new();
        while first.len() <= self.most {
            match elements.next_element()? {
                Some(element) => first.push(element),
                None => return Ok(first),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

fn read_name(value: &RawValue) -> Result<FullyQualifiedName, String> {
    let text = |value: &RawValue| String::deserialize(value).ok();
    if let Some(name) = text(value) {
        return FullyQualifiedName::parse(&name);
    }
    let field = |key| Fields::of(value).and_then(|fields| fields.get(key).and_then(text));
    let malformed = || "fully qualified name malformed".to_owned();
    let path = EntityPath::parse(&field("path").ok_or_else(malformed)?)?;
    let name = EntityName::new(&field("name").ok_or_else(malformed)?).ok_or_else(malformed)?;
    Ok(FullyQualifiedName::new(path, name))
}

/// The parameters of a sequence, whatever its body says.
pub(super) fn parameters(components: &[FullyQualifiedName]) -> Parameters {
    let paths: Vec<String> = components.iter().map(|name| format!("/{name}")).collect();
    let mut parameters = Parameters::new();
    parameters.set(COMPONENTS, &paths);
    parameters
}

/// Refuses components that the caller may not read, all of them by name.
pub(super) async fn require_readable(
    call: &Call<'_>,
    components: &[FullyQualifiedName],
) -> Result<(), ApiError> {
    let mut verdicts = Vec::new();
    for address in components.iter().filter_map(ActionAddress::of) {
        verdicts.push(call.rights().action(Privilege::Read, &address).await?);
    }
    entitle::all(verdicts).required()
}

/// Refuses components that make no sequence: too few, too many with those of the sequences among them, missing ones,
/// and sequences that lead back to this one.
pub(super) async fn require_shape(
    call: &Call<'_>,
    sequence: &ActionAddress,
    components: &[FullyQualifiedName],
) -> Result<(), ApiError> {
    let most = call.controller.config.sequence_length;
    if components.is_empty() {
        return Err(ApiError::bad_request(error_text::NO_COMPONENT));
    }
    if components.len() as u64 > most.into() {
        return Err(too_long());
    }
    let walk = Walk { entities: &call.controller.entities, most, known: HashMap::new() };
    walk.count(sequence.qualified(), components.to_vec()).await.map(drop)
}

fn too_long() -> ApiError {
    ApiError::bad_request(error_text::SEQUENCE_TOO_LONG)
}

/// A walk through a sequence and the sequences in it.
struct Walk<'a> {
    entities: &'a Entities,
    most: u32,
    /// Actions in sequences that were walked through.
    known: HashMap<FullyQualifiedName, u32>,
}

/// A sequence on the way from the first to the place where the walk is.
struct Visit {
    name: FullyQualifiedName,
    rest: std::vec::IntoIter<FullyQualifiedName>,
    count: u32,
}

impl Visit {
    fn new(name: FullyQualifiedName, components: Vec<FullyQualifiedName>) -> Self {
        Self { name, rest: components.into_iter(), count: 0 }
    }
}

impl Walk<'_> {
    /// How many actions a sequence runs.
    async fn count(
        mut self,
        name: FullyQualifiedName,
        components: Vec<FullyQualifiedName>,
    ) -> Result<u32, ApiError> {
        let deepest = usize::try_from(most_nested(self.most)).unwrap_or(usize::MAX);
        let mut around = HashSet::from([name.clone()]);
        let mut way = Vec::new();
        let mut here = Visit::new(name, components);
        loop {
            let added = match here.rest.next() {
                Some(component) => match self.look(component, &around).await? {
                    Found::Actions(count) => count,
                    Found::Sequence(name, components) => {
                        if way.len() >= deepest {
                            return Err(too_long());
                        }
                        around.insert(name.clone());
                        way.push(std::mem::replace(&mut here, Visit::new(name, components)));
                        0
                    }
                },
                None => {
                    let Some(outer) = way.pop() else { return Ok(here.count) };
                    let inner = std::mem::replace(&mut here, outer);
                    around.remove(&inner.name);
                    self.known.insert(inner.name, inner.count);
                    inner.count
                }
            };
            here.count += added;
            if here.count > self.most {
                return Err(too_long());
            }
        }
    }

    async fn look(
        &self,
        component: FullyQualifiedName,
        around: &HashSet<FullyQualifiedName>,
    ) -> Result<Found, ApiError> {
        let address = ActionAddress::of(&component).ok_or(LoadError::Missing).map_err(component_error)?;
        let stored = match address.package_name() {
            None => component,
            Some(package) => {
                let package = self.entities.resolve_package(&package).await.map_err(component_error)?;
                FullyQualifiedName::new(package.path(), address.name.clone())
            }
        };
        if around.contains(&stored) {
            return Err(ApiError::bad_request(error_text::SEQUENCE_CYCLIC));
        }
        if let Some(count) = self.known.get(&stored) {
            return Ok(Found::Actions(*count));
        }
        let action = self.entities.resolve_action(&address).await.map_err(component_error)?;
        let exec = &action.executable.exec;
        Ok(if exec.is_sequence() {
            Found::Sequence(stored, exec.components.clone())
        } else {
            Found::Actions(1)
        })
    }
}

/// What a component is.
enum Found {
    /// So many actions whose sequence need not be walked through.
    Actions(u32),
    Sequence(FullyQualifiedName, Vec<FullyQualifiedName>),
}

fn component_error(error: LoadError) -> ApiError {
    match error {
        LoadError::Missing => ApiError::bad_request(error_text::COMPONENT_MISSING),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(components: &str) -> Result<Vec<String>, String> {
        let value: Box<RawValue> = serde_json::from_str(components).unwrap();
        let names = read_components(Some(&value), &EntityName::new("guest").unwrap(), 3)?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn components_are_texts_or_objects() {
        let names = read(r#"["/_/a", "n/p/b", {"path":"_/p","name":"c","version":"0.0.1"}]"#);
        assert_eq!(names.unwrap(), ["guest/a", "n/p/b", "guest/p/c"]);
        assert_eq!(read("[]").unwrap(), [""; 0]);
    }

    #[test]
    fn of_too_many_only_the_beginning_is_read() {
        assert_eq!(read(r#"["/n/a","/n/b","/n/c","/n/d",5,{}]"#).unwrap().len(), 4);
    }

    #[test]
    fn reasons_are_exact() {
        let invalid = "requirement failed: path contains invalid parts ArraySeq(n, a#)";
        for (components, reason) in [
            ("{}", "'components' must be an array"),
            ("null", "'components' must be an array"),
            (r#""/n/a""#, "'components' must be an array"),
            (r#"["a"]"#, error_text::NAME_NOT_QUALIFIED),
            (r#"["/n/a#"]"#, invalid),
            ("[1]", "fully qualified name malformed"),
            (r#"[{"path":"n"}]"#, "fully qualified name malformed"),
            (r#"[{"path":"n","name":"a#"}]"#, "fully qualified name malformed"),
        ] {
            assert_eq!(read(components), Err(reason.to_owned()), "{components}");
        }
        let own = EntityName::new("guest").unwrap();
        assert_eq!(
            read_components(None, &own, 3),
            Err("'components' must be defined for sequence kind".to_owned())
        );
    }

    #[test]
    fn a_sequence_tells_its_components_in_a_parameter() {
        let components = [FullyQualifiedName::parse("guest/a").unwrap()];
        let text = serde_json::to_string(&parameters(&components)).unwrap();
        assert_eq!(text, r#"[{"key":"_actions","value":["/guest/a"]}]"#);
    }
}
