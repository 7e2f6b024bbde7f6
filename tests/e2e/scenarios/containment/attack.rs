//! An attack, as data.

use serde_json::{Value, json};

use crate::functions::Language;

/// What a function tries, what stops it, and how success would show.
#[derive(Debug, Clone)]
pub(super) struct Attack {
    /// What it is called here; unique.
    pub(super) name: &'static str,
    /// The languages in which it is tried.
    pub(super) languages: &'static [Language],
    /// Which of the functions' attacks it is, and its arguments.
    pub(super) call: Value,
    /// The walls that stop it. Where there are several, each of them does, or they build upon each other: all of them are
    /// open when the attack is shown to work.
    pub(super) walls: &'static [&'static str],
    /// Those of them of which it is shown that each stops it by itself, with all the others open.
    pub(super) enough: &'static [&'static str],
    /// How success would show.
    pub(super) sign: Sign,
    /// Memory of the function, megabytes.
    pub(super) memory: u64,
    /// What another function is called with before.
    pub(super) accomplice: Option<Value>,
    /// Whether another function runs meanwhile, with a secret in its environment.
    pub(super) has_neighbour: bool,
}

/// How the success of an attack shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The function says so; where it is contained it says that too.
    Word,
    /// The function says so; where it is contained its sandbox may end before it can say anything.
    WordOrEnd,
    /// A process of the name given in the arguments lives on when its function has ended.
    Survivor,
    /// More is logged than the function's limit.
    Log,
    /// The same by a second call, of what the first one started.
    LaterLog,
    /// What was started in one call has run before the next.
    Idle,
    /// Many processes get more of a processor than the one of another function.
    Share,
}

pub(super) const EVERYWHERE: &[Language] = &[Language::Nodejs, Language::Python, Language::Native];

/// The attack of the functions that makes system calls.
const CALLS: &str = "calls";

impl Attack {
    /// One that asks `attack` of the functions, with more arguments, and is stopped by these walls.
    pub(super) fn new(
        name: &'static str,
        attack: &str,
        mut arguments: Value,
        walls: &'static [&'static str],
    ) -> Self {
        arguments["attack"] = json!(attack);
        Self {
            name,
            languages: EVERYWHERE,
            call: arguments,
            walls,
            enough: &[],
            sign: Sign::Word,
            memory: 128,
            accomplice: None,
            has_neighbour: false,
        }
    }

    /// One that makes system calls, written as the functions read them.
    pub(super) fn of_calls(name: &'static str, calls: &str, walls: &'static [&'static str]) -> Self {
        Self::new(name, CALLS, json!({"calls": calls}), walls)
    }

    /// Whether it makes nothing but system calls, in a process of its own: where they are refused it leaves nothing.
    pub(super) fn is_of_calls(&self) -> bool {
        self.call["attack"] == CALLS
    }

    pub(super) fn by(self, languages: &'static [Language]) -> Self {
        Self { languages, ..self }
    }

    pub(super) fn stopped_by_each_of(self, enough: &'static [&'static str]) -> Self {
        Self { enough, ..self }
    }

    pub(super) fn shown_by(self, sign: Sign) -> Self {
        Self { sign, ..self }
    }

    pub(super) fn with_memory(self, memory: u64) -> Self {
        Self { memory, ..self }
    }

    /// Another function is called first, with the same code and these arguments.
    pub(super) fn after(self, attack: &str, mut arguments: Value) -> Self {
        arguments["attack"] = json!(attack);
        Self { accomplice: Some(arguments), ..self }
    }

    pub(super) fn beside_a_neighbour(self) -> Self {
        Self { has_neighbour: true, ..self }
    }
}
