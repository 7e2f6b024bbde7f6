//! From lists of calls to the kernel's filter program.
//!
//! When a filter is installed the kernel runs it once for every call number, so its length on the way to a verdict
//! is paid at each birth of a cell. Numbers are therefore merged into ranges and walked in order: some hundred
//! steps, where one comparison per call costs a birth most of a millisecond.

use std::collections::{BTreeMap, BTreeSet};

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

/// What the kernel calls this machine's own calls; others end the program that makes them.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Where the call's number, architecture and arguments lie in what a filter sees.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// A test of one half of an argument, mostly the lower: where these tests are used the kernel reads no more of numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Test {
    /// Which argument, 0..=5.
    pub(super) argument: u8,
    /// Whether it is about the upper 32 bits.
    pub(super) upper: bool,
    /// The bits that are compared.
    pub(super) mask: u32,
    /// With what.
    pub(super) value: u32,
    /// Whether they must be equal, or must differ.
    pub(super) equal: bool,
}

impl Test {
    /// Where what it is about lies.
    fn offset(&self) -> u32 {
        // Little-endian, as all machines are for which there is a filter.
        ARGUMENTS + 8 * u32::from(self.argument) + 4 * u32::from(self.upper)
    }

    pub(super) const fn is(argument: u8, value: u32) -> Self {
        Self { argument, upper: false, mask: u32::MAX, value, equal: true }
    }

    pub(super) const fn is_not(argument: u8, value: u32) -> Self {
        Self { argument, upper: false, mask: u32::MAX, value, equal: false }
    }

    /// Both halves of an address that is none.
    pub(super) const fn null(argument: u8) -> [Self; 2] {
        [Self::is(argument, 0), Self { upper: true, ..Self::is(argument, 0) }]
    }

    pub(super) const fn bits(argument: u8, mask: u32, value: u32) -> Self {
        Self { argument, upper: false, mask, value, equal: true }
    }
}

/// What shall become of each call; those not named are refused with `EPERM`.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Allowed whatever the arguments.
    pub(super) free: BTreeSet<u32>,
    /// Allowed when all tests of one of the rules hold.
    pub(super) ruled: BTreeMap<u32, Vec<Vec<Test>>>,
    /// Answered as if this kernel did not have them.
    pub(super) absent: BTreeSet<u32>,
}

/// Assembles the program.
///
/// # Errors
/// When the rules of one call are too many for a jump over them.
pub(super) fn assemble(calls: &Calls) -> Result<Vec<sock_filter>, String> {
    let mut program = vec![load(ARCH), jump(BPF_JEQ, ARCHITECTURE, 1, 0), verdict(KILL), load(NUMBER)];
    for call in &calls.absent {
        program.extend([jump(BPF_JEQ, *call, 0, 1), verdict(ABSENT)]);
    }
    for (call, rules) in &calls.ruled {
        let block = block(rules)?;
        program.push(jump(BPF_JEQ, *call, 0, offset(block.len())?));
        program.extend(block);
    }
    for (first, behind) in ranges(&calls.free) {
        // All numbers below `first` that are allowed have had their verdict.
        program.extend([
            jump(BPF_JGE, first, 1, 0),
            verdict(REFUSE),
            jump(BPF_JGE, behind, 1, 0),
            verdict(ALLOW),
        ]);
    }
    program.push(verdict(REFUSE));
    Ok(program)
}

/// The verdict over one call by its rules.
fn block(rules: &[Vec<Test>]) -> Result<Vec<sock_filter>, String> {
    let mut block = Vec::new();
    for rule in rules {
        let mut steps = vec![verdict(ALLOW)];
        for test in rule.iter().rev() {
            let past = offset(steps.len())?;
            let (same, other) = if test.equal { (0, past) } else { (past, 0) };
            let mut test_steps = vec![load(test.offset())];
            if test.mask != u32::MAX {
                test_steps.push(step(BPF_ALU | BPF_AND | BPF_K, 0, 0, test.mask));
            }
            test_steps.push(jump(BPF_JEQ, test.value, same, other));
            test_steps.append(&mut steps);
            steps = test_steps;
        }
        block.append(&mut steps);
    }
    block.push(verdict(REFUSE));
    Ok(block)
}

/// Consecutive numbers as (first, one past the last).
fn ranges(numbers: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, behind)) if behind == number => *behind += 1,
            _ => ranges.push((*number, *number + 1)),
        }
    }
    ranges
}

fn offset(steps: usize) -> Result<u8, String> {
    u8::try_from(steps).map_err(|_| format!("a jump over {steps} steps is too long for a filter"))
}

fn load(offset: u32) -> sock_filter {
    step(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn jump(comparison: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    step(BPF_JMP | comparison | BPF_K, if_true, if_false, value)
}

fn verdict(value: u32) -> sock_filter {
    step(BPF_RET | BPF_K, 0, 0, value)
}

fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // Codes of the classic machine fit 16 bits by definition.
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program on one call, as the kernel would.
    fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut position, mut accumulator) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[position];
            position += 1;
            let code = u32::from(code);
            let choose = |holds: bool| usize::from(if holds { jt } else { jf });
            if code == BPF_LD | BPF_W | BPF_ABS {
                accumulator = match k {
                    NUMBER => number,
                    ARCH => architecture,
                    other => {
                        let offset = other as usize - 16;
                        (arguments[offset / 8] >> (offset % 8 * 8)) as u32
                    }
                };
            } else if code == BPF_ALU | BPF_AND | BPF_K {
                accumulator &= k;
            } else if code == BPF_JMP | BPF_JEQ | BPF_K {
                position += choose(accumulator == k);
            } else if code == BPF_JMP | BPF_JGE | BPF_K {
                position += choose(accumulator >= k);
            } else if code == BPF_RET | BPF_K {
                return k;
            } else {
                panic!("unknown step {code:#x}");
            }
        }
    }

    fn calls() -> Calls {
        Calls {
            free: BTreeSet::from([0, 1, 2, 5, 7, 8, 300]),
            ruled: BTreeMap::from([(
                4,
                vec![
                    vec![Test::is(0, 1), Test::bits(1, 0xf, 2)],
                    vec![Test::is(0, 9), Test::is_not(2, 3), Test::is_not(2, 4)],
                ],
            )]),
            absent: BTreeSet::from([435]),
        }
    }

    #[test]
    fn free_calls_pass_and_their_neighbours_do_not() {
        let program = assemble(&calls()).unwrap();
        for number in 0..600 {
            let expected = match number {
                435 => ABSENT,
                number if calls().free.contains(&number) => ALLOW,
                _ => REFUSE,
            };
            assert_eq!(run(&program, ARCHITECTURE, number, [0; 6]), expected, "call {number}");
        }
        assert_eq!(run(&program, ARCHITECTURE, 0x4000_0000, [0; 6]), REFUSE);
    }

    #[test]
    fn foreign_architecture_is_killed() {
        let program = assemble(&calls()).unwrap();
        assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), KILL);
    }

    #[test]
    fn rules_hold_when_all_tests_of_one_hold() {
        let program = assemble(&calls()).unwrap();
        let verdict = |arguments| run(&program, ARCHITECTURE, 4, arguments);
        assert_eq!(verdict([1, 2, 0, 0, 0, 0]), ALLOW);
        assert_eq!(verdict([1, 0xff2, 0, 0, 0, 0]), ALLOW);
        assert_eq!(verdict([1, 3, 0, 0, 0, 0]), REFUSE);
        assert_eq!(verdict([2, 2, 0, 0, 0, 0]), REFUSE);
        assert_eq!(verdict([9, 0, 5, 0, 0, 0]), ALLOW);
        assert_eq!(verdict([9, 0, 3, 0, 0, 0]), REFUSE);
        assert_eq!(verdict([9, 0, 4, 0, 0, 0]), REFUSE);
        // What lies above the 32 bits that the kernel reads changes nothing.
        assert_eq!(verdict([9, 0, 4 | 1 << 40, 0, 0, 0]), REFUSE);
    }

    #[test]
    fn rules_too_long_to_jump_over_are_an_error() {
        let rules = (0..200).map(|value| vec![Test::is(0, value)]).collect();
        let calls = Calls { ruled: BTreeMap::from([(1, rules)]), ..Calls::default() };
        assert!(assemble(&calls).is_err());
    }
}
