//! An action with everything that an invocation asks of it, its package's part included.

use std::collections::HashSet;
use std::sync::Arc;

use chasen_entity::{Action, Delivery, ExecutableAction, Manifest, Parameters, Revision};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedAction {
    pub(crate) executable: Arc<ExecutableAction>,
    /// Default arguments: those of the package and of the binding beneath its own.
    pub(crate) parameters: Parameters,
    /// `ns/binding` if it was reached through one.
    pub(crate) binding: Option<String>,
    /// Keys that a request may not set.
    pub(crate) finals: HashSet<String>,
    /// Digest of the parameters for the environment, if there are any.
    pub(crate) environment: Option<Arc<str>>,
    /// True if some values are locked.
    pub(crate) has_locked: bool,
    pub(crate) delivery: Delivery,
    /// Whether its kind may be invoked.
    pub(crate) kind: KindState,
    /// True if it conducts: its results say what runs next.
    pub(crate) conductor: bool,
}

/// What the platform does with actions of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KindState {
    /// It runs them.
    Runs,
    /// It keeps them and runs them no more.
    Deprecated,
    /// It knows the kind no more.
    Removed,
}

impl KindState {
    /// What it does with this action.
    pub(crate) fn of(action: &Action, manifest: &Manifest) -> Self {
        let exec = &action.exec;
        if exec.is_sequence() || exec.image.is_some() {
            return Self::Runs;
        }
        match manifest.resolve(&exec.kind) {
            Some(kind) if kind.deprecated => Self::Deprecated,
            Some(_) => Self::Runs,
            None => Self::Removed,
        }
    }
}

impl ResolvedAction {
    /// Prepares a stored action as it is without a package.
    pub(crate) fn of(action: &Action, revision: Revision, manifest: &Manifest) -> Self {
        let mut executable = ExecutableAction::of(action, revision);
        // It may have been stored under a name that is an alias by now.
        if let Some(kind) = manifest.resolve(&executable.exec.kind) {
            executable.exec.kind.clone_from(&kind.kind);
        }
        Self {
            executable: Arc::new(executable),
            parameters: Parameters::new(),
            binding: None,
            finals: HashSet::new(),
            environment: None,
            has_locked: false,
            // One that is nothing was refused when the action was put, or was put before there were any.
            delivery: Delivery::asked_by(&action.annotations).unwrap_or_default(),
            kind: KindState::of(action, manifest),
            conductor: !action.exec.is_sequence() && action.annotations.is_truthy("conductor"),
        }
        .with_parameters(action.parameters.clone())
    }

    /// The action in a package: with these parameters beneath its own, and the binding it was reached through.
    pub(crate) fn inside(&self, beneath: Parameters, binding: Option<String>) -> Self {
        let parameters = beneath.merged_with(self.parameters.clone());
        Self { binding, ..self.clone() }.with_parameters(parameters)
    }

    /// The same as a state that was replaced.
    pub(crate) fn superseded(mut self) -> Self {
        Arc::make_mut(&mut self.executable).superseded = true;
        self
    }

    /// The action with what an earlier run was given in place of its parameters: arguments are taken as they are.
    pub(crate) fn given(&self, environment: Option<Arc<str>>, init_parameters: Parameters) -> Self {
        let finals = HashSet::new();
        Self { parameters: init_parameters, finals, environment, has_locked: false, ..self.clone() }
    }

    fn with_parameters(self, parameters: Parameters) -> Self {
        let is_final = self.executable.annotations.get("final").is_some_and(|is| is.as_str() == "true");
        let defined = parameters.iter().filter(|parameter| is_final && parameter.value.as_str() != "null");
        let finals = defined.map(|parameter| parameter.key.clone()).collect();
        let environment = parameters.environment_digest().map(Arc::from);
        Self { finals, environment, has_locked: parameters.has_locked(), parameters, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action() -> Action {
        serde_json::from_str(
            r#"{"namespace":"guest/pkg","name":"hello","exec":{"kind":"k:1"},"limits":{"timeout":60000,"memory":256,"logs":10,"concurrency":1},
                "parameters":[{"key":"a","value":1},{"key":"n","value":null},{"key":"i","value":2,"init":true}],
                "version":"0.0.1","annotations":[{"key":"final","value":true}],"updated":1}"#,
        )
        .unwrap()
    }

    #[test]
    fn preparation_finds_what_invocations_ask() {
        let resolved = ResolvedAction::of(&action(), 1, &Manifest::default());
        assert_eq!(resolved.finals, ["a", "i"].map(str::to_owned).into());
        assert!(resolved.environment.is_some() && !resolved.has_locked && !resolved.conductor);
        assert_eq!((resolved.delivery, resolved.kind), (Delivery::AtMostOnce, KindState::Removed));
    }

    #[test]
    fn what_was_stored_under_an_old_name_runs_as_the_kind_that_has_it_now() {
        let manifest = r#"{"runtimes":{"k":[{"kind":"k:2","aliases":["k:1"],"image":{"name":"n"}}]}}"#;
        let resolved = ResolvedAction::of(&action(), 1, &Manifest::parse(manifest).unwrap());
        assert_eq!((resolved.executable.exec.kind.as_str(), resolved.kind), ("k:2", KindState::Runs));
    }

    #[test]
    fn parameters_of_the_package_lie_beneath_and_count_for_what_is_final() {
        let beneath =
            serde_json::from_str(r#"[{"key":"a","value":9},{"key":"n","value":8},{"key":"p","value":7}]"#)
                .unwrap();
        let inside = ResolvedAction::of(&action(), 1, &Manifest::default())
            .inside(beneath, Some("guest/b".to_owned()));
        let values: Vec<_> =
            inside.parameters.iter().map(|one| (one.key.as_str(), one.value.as_str())).collect();
        assert_eq!(values, [("a", "1"), ("n", "null"), ("p", "7"), ("i", "2")]);
        assert_eq!(inside.finals, ["a", "i", "p"].map(str::to_owned).into());
        assert_eq!(inside.binding.as_deref(), Some("guest/b"));
    }
}
