//! Scenarios: a name, what the machine must offer, and what to do.

use std::borrow::Cow;

use chasen_testkit::{docker, everything_is_needed, faults_binary, has_command, is_root};
use libtest_mimic::{Completion, Trial};

use crate::memory_group::MemoryGroup;
use crate::{built_roots, dotnet, npm};

/// What a scenario needs of the machine.
#[derive(Debug, Clone)]
pub(crate) enum Need {
    /// Rights to make sandboxes.
    Root,
    /// A command that the test command installs.
    Command(Cow<'static, str>),
    /// A command that machines mostly lack.
    RareCommand(&'static str),
    /// The published clients.
    Packages,
    /// No such command: what the scenario brings would not be used.
    Lacking(&'static str),
    /// Minutes, gigabytes and a mirror of Debian, as somebody said.
    RealRoots,
    /// Deno, from where the platform's own recipe has it.
    Deno,
    /// .NET with its SDK, from there too.
    DotNet,
    /// A container engine.
    Engine,
    /// What images of tests are made of.
    StaticProxy,
    /// Control groups that bound memory, and the right to make one.
    MemoryGroup,
    /// The binary with walls that can be left open.
    OpenWalls,
    /// The binary with faults on purpose: the same one.
    Faults,
}

impl Need {
    /// This installed command.
    pub(crate) const fn command(name: &'static str) -> Self {
        Self::Command(Cow::Borrowed(name))
    }

    fn missing(&self) -> Option<String> {
        match self {
            Self::Root => (!is_root()).then(|| "sandboxes need root here: run the tests as root".to_owned()),
            Self::Packages => npm::packages().as_ref().err().cloned(),
            Self::Lacking(name) => has_command(name).then(|| format!("'{name}' is installed and goes first")),
            Self::RealRoots => std::env::var_os("CHASEN_TEST_ROOTFS")
                .is_none()
                .then(|| "whole systems take minutes and gigabytes: set CHASEN_TEST_ROOTFS=1".to_owned()),
            Self::Deno => built_roots::deno().as_ref().err().cloned(),
            Self::DotNet => dotnet::sdk().as_ref().err().cloned(),
            Self::Engine => docker::engine().err(),
            Self::MemoryGroup => MemoryGroup::new("chasen-need", 1 << 30).err(),
            Self::OpenWalls => faults_binary().is_none().then(|| {
                "attacks are shown to work by a binary whose walls can be open: 'cargo xtask test' makes it, \
                 CHASEN_FAULTS_BIN names it"
                    .to_owned()
            }),
            Self::Faults => faults_binary().is_none().then(|| {
                "what goes wrong is made to by a binary with faults: 'cargo xtask test' makes it, CHASEN_FAULTS_BIN \
                 names it"
                    .to_owned()
            }),
            Self::StaticProxy => match chasen_test_images::of_shell("any") {
                Some(_) => None,
                None => Some("images need busybox-static and the proxy: run 'cargo xtask proxy'".to_owned()),
            },
            Self::Command(name) => Self::missing_command(name),
            Self::RareCommand(name) => Self::missing_command(name),
        }
    }

    fn missing_command(name: &str) -> Option<String> {
        (!has_command(name)).then(|| format!("'{name}' is not installed"))
    }

    /// True if the test command sees to it that it is there.
    fn is_seen_to(&self) -> bool {
        matches!(self, Self::Command(_) | Self::StaticProxy | Self::OpenWalls | Self::Faults)
    }
}

/// One scenario.
pub(crate) struct Scenario {
    name: Cow<'static, str>,
    needs: Vec<Need>,
    body: Box<dyn FnOnce() + Send>,
}

impl Scenario {
    /// A scenario that waits for things.
    pub(crate) fn new<F>(name: &'static str, body: fn() -> F) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self::blocking(name, move || wait_for(body()))
    }

    /// A scenario of plain commands.
    pub(crate) fn blocking(name: impl Into<Cow<'static, str>>, body: impl FnOnce() + Send + 'static) -> Self {
        Self { name: name.into(), needs: vec![Need::Root], body: Box::new(body) }
    }

    /// Needs this too.
    pub(crate) fn needing(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Needs nothing of the machine.
    pub(crate) fn needing_nothing(mut self) -> Self {
        self.needs.clear();
        self
    }

    /// The scenario as the test runner wants it.
    pub(crate) fn trial(self) -> Trial {
        Trial::ignorable_test(self.name, move || {
            let missing = self.needs.iter().find_map(|need| Some((need, need.missing()?)));
            if let Some((need, reason)) = missing {
                if everything_is_needed() && need.is_seen_to() {
                    return Err(format!("{reason}, and nothing may be skipped here").into());
                }
                return Ok(Completion::ignored_with(reason));
            }
            (self.body)();
            Ok(Completion::Completed)
        })
    }
}

/// Runs what waits for things on this thread.
pub(crate) fn wait_for(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(body);
}
