//! What the program of a cell is and may keep, as system calls made one after the other.
//!
//! They are data, because two make them: the cell's first process, for itself and the program that it starts; and the
//! child of a fork server ([`super::fork_server`]) that joins a cell instead. What holds for one holds for the other.

use chasen_runtime::walls::{self, Wall};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, capability_is_in_bounding_set};
use serde::Serialize;

use crate::seccomp::Filter;
use crate::sys::{self, Argument};

/// The layout of capabilities that [`NO_CAPABILITIES`] has, for process 0: whoever asks.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// Three empty sets, each in two halves.
const NO_CAPABILITIES: [u8; 24] = [0; 24];

/// One system call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    /// What it does, for whoever reads of its failure.
    what: &'static str,
    number: libc::c_long,
    arguments: Vec<Argument>,
}

impl Call {
    fn new(what: &'static str, number: libc::c_long, arguments: impl Into<Vec<Argument>>) -> Self {
        Self { what, number, arguments: arguments.into() }
    }

    fn of_process(what: &'static str, option: libc::c_int, values: [u64; 2]) -> Self {
        let [first, second] = values.map(Argument::Number);
        let option = Argument::Number(u64::from(option.cast_unsigned()));
        Self::new(what, libc::SYS_prctl, [option, first, second, Argument::Number(0), Argument::Number(0)])
    }
}

/// Makes the calls.
///
/// # Errors
/// The call that was refused; those before it are done.
#[allow(unsafe_code)]
pub(crate) fn perform(calls: &[Call]) -> Result<(), String> {
    for call in calls {
        // SAFETY: the calls are those of this file. None of them writes to memory of this process, and what they read
        // is as long as they expect.
        unsafe { sys::call(call.number, &call.arguments) }
            .map_err(|error| format!("{}: {error}", call.what))?;
    }
    Ok(())
}

/// Becomes the cell's user, with these numbers for user and group, still holding every right inside the cell's own
/// user namespace.
pub(crate) fn becoming_the_user((user, group): (u32, u32)) -> Vec<Call> {
    let keep = CapabilitiesSecureBits::NO_SETUID_FIXUP;
    let three = |id: u32| [(); 3].map(|()| Argument::Number(u64::from(id)));
    vec![
        secure_bits("keeping rights over a change of user", keep),
        Call::new("becoming the cell's group", libc::SYS_setresgid, three(group)),
        Call::new("becoming the cell's user", libc::SYS_setresuid, three(user)),
    ]
}

/// What a process may write of itself when it crashes, bytes: too little for a file, and the one amount at which the
/// kernel calls no handler of the host either. With 0 it would call one.
const CORE_DUMP: u64 = 1;

/// Bounds open files and switches core dumps off. The filter keeps a program from changing the latter.
pub(crate) fn limiting_resources(files: u64) -> Vec<Call> {
    let limit = |resource: libc::__rlimit_resource_t, value: u64| {
        let both = [value.to_ne_bytes(), value.to_ne_bytes()].concat();
        let arguments = [
            Argument::Number(0),
            Argument::Number(u64::from(resource)),
            Argument::Bytes(both),
            Argument::Number(0),
        ];
        Call::new("setting resource limits", libc::SYS_prlimit64, arguments)
    };
    let bounds = [
        (Wall::FileLimit, limit(libc::RLIMIT_NOFILE, files)),
        (Wall::NoCoreDumps, limit(libc::RLIMIT_CORE, CORE_DUMP)),
    ];
    bounds.into_iter().filter_map(|(wall, call)| walls::stand(wall).then_some(call)).collect()
}

/// Leaves what surrounds it, gives up every capability for good, then every system call that no program needs.
///
/// # Errors
/// When the kernel does not say which capabilities it has.
pub(crate) fn giving_up(files: u64, filter: &Filter) -> Result<Vec<Call>, String> {
    let mut calls = limiting_resources(files);
    calls.push(Call::new("setting the file mode mask", libc::SYS_umask, [Argument::Number(0o022)]));
    if walls::stand(Wall::ProcessorShare) {
        // Where processors are not shared between control groups they are between sessions.
        calls.push(Call::new("making a session", libc::SYS_setsid, []));
    }
    if walls::stand(Wall::NoCapabilities) {
        calls.extend(dropping_capabilities()?);
    } else {
        calls.extend(keeping_capabilities()?);
    }
    if walls::stand(Wall::NoNewPrivileges) {
        calls.push(Call::of_process("forbidding new rights", libc::PR_SET_NO_NEW_PRIVS, [1, 0]));
    }
    if walls::stand(Wall::CallFilter) {
        calls.push(Call::new(
            "filtering system calls",
            libc::SYS_seccomp,
            [
                Argument::Number(u64::from(libc::SECCOMP_SET_MODE_FILTER)),
                Argument::Number(0),
                Argument::Filter(filter.bytes()),
            ],
        ));
    }
    Ok(calls)
}

/// Gives up every capability, and whatever could give one back.
///
/// # Errors
/// When the kernel does not say which there are.
fn dropping_capabilities() -> Result<Vec<Call>, String> {
    let mut calls = dropping_bounds(CapabilitySet::empty())?;
    let clear_all = u64::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned());
    let header = [CAPABILITY_VERSION_3.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
    calls.extend([
        Call::of_process("clearing ambient capabilities", libc::PR_CAP_AMBIENT, [clear_all, 0]),
        secure_bits("locking capabilities", locked_bits()),
        Call::new(
            "dropping capabilities",
            libc::SYS_capset,
            [Argument::Bytes(header), Argument::Bytes(NO_CAPABILITIES.to_vec())],
        ),
    ]);
    Ok(calls)
}

/// Keeps every capability over the execution of the program, which would lose them by itself: what a cell without this
/// wall would have.
///
/// # Errors
/// When the kernel does not say which there are.
fn keeping_capabilities() -> Result<Vec<Call>, String> {
    let owned = known_capabilities()?.into_iter().filter_map(|(number, is_owned)| is_owned.then_some(number));
    let owned: Vec<u32> = owned.collect();
    let set = owned.iter().fold(0_u64, |set, number| set | 1 << number);
    // The lower halves of the effective, permitted and inheritable ones, then the upper ones.
    let [lower, upper] = [set & u64::from(u32::MAX), set >> 32]
        .map(|half| u32::try_from(half).unwrap_or(0).to_ne_bytes().repeat(3));
    let sets = [lower, upper].concat();
    let header = [CAPABILITY_VERSION_3.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
    let raise = u64::from(libc::PR_CAP_AMBIENT_RAISE.cast_unsigned());
    let keep = |number: u32| {
        Call::of_process("keeping a capability", libc::PR_CAP_AMBIENT, [raise, u64::from(number)])
    };
    let own =
        Call::new("owning capabilities", libc::SYS_capset, [Argument::Bytes(header), Argument::Bytes(sets)]);
    Ok(std::iter::once(own).chain(owned.into_iter().map(keep)).collect())
}

/// Takes every capability but those in `kept` out of reach, those of kernels newer than this program too.
///
/// # Errors
/// When the kernel does not say which it has.
pub(crate) fn dropping_bounds(kept: CapabilitySet) -> Result<Vec<Call>, String> {
    let dropped = known_capabilities()?
        .into_iter()
        .map(|(number, _)| number)
        .filter(|number| !kept.contains(CapabilitySet::from_bits_retain(1 << number)));
    let drop = |number: u32| {
        Call::of_process("bounding capabilities", libc::PR_CAPBSET_DROP, [u64::from(number), 0])
    };
    Ok(dropped.map(drop).collect())
}

/// The capabilities that this kernel knows, and whether this process can have each.
fn known_capabilities() -> Result<Vec<(u32, bool)>, String> {
    let mut known = Vec::new();
    for number in 0..u64::BITS {
        match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(is_bounded) => known.push((number, is_bounded)),
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(format!("reading the bounds of capabilities: {error}")),
        }
    }
    Ok(known)
}

fn secure_bits(what: &'static str, bits: CapabilitiesSecureBits) -> Call {
    Call::of_process(what, libc::PR_SET_SECUREBITS, [u64::from(bits.bits()), 0])
}

/// No program gains anything by its user, ever; and nobody can change that.
fn locked_bits() -> CapabilitiesSecureBits {
    use CapabilitiesSecureBits as Bits;
    Bits::NO_ROOT
        | Bits::NO_ROOT_LOCKED
        | Bits::NO_SETUID_FIXUP
        | Bits::NO_SETUID_FIXUP_LOCKED
        | Bits::KEEP_CAPS_LOCKED
        | Bits::NO_CAP_AMBIENT_RAISE
        | Bits::NO_CAP_AMBIENT_RAISE_LOCKED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_the_means_away_comes_last() {
        let calls = giving_up(1024, &Filter::compile().unwrap()).unwrap();
        let place = |what: &str| calls.iter().rposition(|call| call.what == what).unwrap();
        let order = [
            "setting resource limits",
            "bounding capabilities",
            "locking capabilities",
            "dropping capabilities",
            "forbidding new rights",
            "filtering system calls",
        ];
        assert!(order.map(place).is_sorted());
        assert_eq!(place("filtering system calls"), calls.len() - 1);
    }

    #[test]
    fn every_capability_but_the_kept_ones_is_bounded() {
        let all = dropping_bounds(CapabilitySet::empty()).unwrap().len();
        assert!(all >= 38, "{all}");
        let kept = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
        assert_eq!(dropping_bounds(kept).unwrap().len(), all - 2);
    }

    #[test]
    fn calls_are_told_as_data() {
        let calls = serde_json::to_value(limiting_resources(7)).unwrap();
        assert_eq!(calls[0]["number"], libc::SYS_prlimit64);
        assert_eq!(calls[0]["arguments"][0], serde_json::json!({"number": 0}));
        assert_eq!(calls[0]["arguments"][2]["bytes"].as_array().unwrap().len(), 16);
    }
}
