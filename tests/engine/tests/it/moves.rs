//! What may happen in a simulation of the engine.

use chasen_entity::Manifest;
use proptest::prelude::*;

/// Actions that there are.
pub(crate) const ACTIONS: usize = 5;

/// What may happen to the world of the simulation, whether it is possible or not.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    Arrive {
        action: usize,
    },
    Update {
        action: usize,
    },
    /// The n-th thing that is pending goes on: a creation, an initialisation, a freeze, a stop, a call.
    Proceed {
        which: usize,
        well: bool,
    },
    Exit {
        which: usize,
    },
    Pause {
        which: usize,
    },
    Wake {
        action: usize,
    },
    GiveUp {
        action: usize,
        number: u64,
    },
    Withdraw {
        which: usize,
    },
    Pass {
        millis: u64,
    },
    /// The processors are under pressure, or no more.
    Press {
        is_pressed: bool,
    },
    /// An operator wants this many stem cells, of this image.
    Change {
        stems: u32,
        image: &'static str,
    },
}

/// So many stem cells of a kind that is made of this image.
pub(crate) fn manifest(stems: u32, image: &str) -> Manifest {
    let cells = match stems {
        0 => String::new(),
        _ => format!(r#"{{"initialCount":{stems},"memory":"128 MB"}}"#),
    };
    let kind = format!(r#"{{"kind":"k:1","image":{{"name":"{image}"}},"stemCells":[{cells}]}}"#);
    Manifest::parse(&format!(r#"{{"runtimes":{{"k":[{kind}]}}}}"#)).unwrap()
}

/// Any history.
pub(crate) fn moves() -> impl Strategy<Value = Vec<Move>> {
    let action = 0..ACTIONS;
    let which = 0usize..32;
    let one = prop_oneof![
        8 => action.clone().prop_map(|action| Move::Arrive { action }),
        1 => action.clone().prop_map(|action| Move::Update { action }),
        16 => (which.clone(), proptest::bool::weighted(0.85)).prop_map(|(which, well)| Move::Proceed { which, well }),
        2 => which.clone().prop_map(|which| Move::Exit { which }),
        2 => which.clone().prop_map(|which| Move::Pause { which }),
        2 => action.clone().prop_map(|action| Move::Wake { action }),
        1 => (action, 0u64..40).prop_map(|(action, number)| Move::GiveUp { action, number }),
        1 => which.prop_map(|which| Move::Withdraw { which }),
        3 => (1u64..150).prop_map(|millis| Move::Pass { millis }),
        1 => any::<bool>().prop_map(|is_pressed| Move::Press { is_pressed }),
        1 => (0u32..4, prop_oneof![Just("k"), Just("newer")])
            .prop_map(|(stems, image)| Move::Change { stems, image }),
    ];
    proptest::collection::vec(one, 1..250)
}
