//! Makes the kernel's kind of program of a table of calls: a search by halves over the calls' numbers.
//!
//! How long it is matters: the kernel translates it, and tries it with the number of every call, each time that it is
//! applied. A list that is gone through from its beginning takes 0.9 ms for that, the search some 0.05 ms.

use std::collections::BTreeMap;

use seccompiler::sock_filter;

/// Offsets in `struct seccomp_data`: the call's number, the architecture, and the first argument, of which the low half
/// is the first in memory on all processors that there is a list for.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Allow,
    /// It fails with this error number.
    Fail(u32),
    /// The process ends.
    Kill,
    /// It is made if all conditions of one of these ways hold; it fails with this error number otherwise.
    AllowIf(Vec<Vec<Condition>>, u32),
}

/// A condition on the low 32 bits of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, from 0 on.
    pub(super) argument: u32,
    /// Which of its bits are looked at.
    pub(super) mask: u32,
    /// What they are compared with.
    pub(super) value: u32,
    /// Whether they must be equal, or must not.
    pub(super) is_equal: bool,
}

/// Why there is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramError {
    /// A call has more conditions than a jump can pass over.
    #[error("a call has too many conditions")]
    Conditions,
    /// The kernel takes 4,096 instructions.
    #[error("the program has {0} instructions, more than the kernel takes")]
    Length(usize),
}

/// The program for calls of `architecture` (`AUDIT_ARCH_*`; others end the process), where each verdict holds from its
/// number on to the next one's. What is before the first has the first's.
pub(super) fn compile(architecture: u32, verdicts: &BTreeMap<u32, Verdict>) -> Result<Vec<sock_filter>, ProgramError> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, architecture, 1, 0),
        leave(&Verdict::Kill),
        load(NUMBER),
    ];
    let intervals: Vec<(u32, &Verdict)> = verdicts.iter().map(|(&number, verdict)| (number, verdict)).collect();
    program.extend(search(&intervals)?);
    if program.len() > libc::BPF_MAXINSNS as usize {
        return Err(ProgramError::Length(program.len()));
    }
    Ok(program)
}

/// Instructions that find the number in the accumulator among `intervals`, and leave.
fn search(intervals: &[(u32, &Verdict)]) -> Result<Vec<sock_filter>, ProgramError> {
    let (low, high) = match intervals {
        [] => return Ok(vec![leave(&Verdict::Kill)]),
        [(_, verdict)] => return decide(verdict),
        _ => intervals.split_at(intervals.len() / 2),
    };
    let first_of_high = high[0].0;
    let (low, high) = (search(low)?, search(high)?);
    let mut code = match u8::try_from(low.len()) {
        Ok(length) => vec![jump(libc::BPF_JGE, first_of_high, length, 0)],
        // Too far for a comparison: over a jump that has a longer arm.
        Err(_) => {
            let length = u32::try_from(low.len()).map_err(|_| ProgramError::Length(low.len()))?;
            vec![
                jump(libc::BPF_JGE, first_of_high, 0, 1),
                jump(libc::BPF_JA, length, 0, 0),
            ]
        }
    };
    code.extend(low);
    code.extend(high);
    Ok(code)
}

/// Instructions that leave with a verdict.
fn decide(verdict: &Verdict) -> Result<Vec<sock_filter>, ProgramError> {
    let Verdict::AllowIf(ways, otherwise) = verdict else {
        return Ok(vec![leave(verdict)]);
    };
    let mut code = Vec::new();
    // What the accumulator holds wherever a way begins, if that is the same from wherever one comes.
    let mut held = None;
    for way in ways {
        let mut steps = Vec::new();
        for condition in way {
            let wanted = (condition.argument, condition.mask);
            if held != Some(wanted) {
                steps.push((load(ARGUMENTS + 8 * condition.argument), None));
                if condition.mask != u32::MAX {
                    steps.push((
                        operation(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, condition.mask),
                        None,
                    ));
                }
            }
            steps.push((jump(libc::BPF_JEQ, condition.value, 0, 0), Some(condition.is_equal)));
            held = Some(wanted);
        }
        let length = steps.len();
        for (at, (mut instruction, is_equal)) in steps.into_iter().enumerate() {
            if let Some(is_equal) = is_equal {
                // Over the rest of this way, its last instruction included, to the next one.
                let away = u8::try_from(length - at).map_err(|_| ProgramError::Conditions)?;
                let arm = if is_equal {
                    &mut instruction.jf
                } else {
                    &mut instruction.jt
                };
                *arm = away;
            }
            code.push(instruction);
        }
        code.push(leave(&Verdict::Allow));
        // A way of several conditions is left with this or that argument in the accumulator.
        if way.len() > 1 {
            held = None;
        }
    }
    code.push(leave(&Verdict::Fail(*otherwise)));
    Ok(code)
}

fn leave(verdict: &Verdict) -> sock_filter {
    let answer = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Fail(errno) | Verdict::AllowIf(_, errno) => libc::SECCOMP_RET_ERRNO | (errno & libc::SECCOMP_RET_DATA),
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    operation(libc::BPF_RET | libc::BPF_K, answer)
}

fn load(offset: u32) -> sock_filter {
    operation(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn jump(kind: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        jt,
        jf,
        ..operation(libc::BPF_JMP | kind | libc::BPF_K, k)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "all codes of BPF fit 16 bits")]
const fn operation(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARCH: u32 = 0xC000_003E;

    /// Runs a program as the kernel would; see Documentation/networking/filter.rst.
    pub(in super::super) fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 6]) -> (u32, usize) {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => arch,
            _ => {
                assert_eq!((offset - ARGUMENTS) % 8, 0, "only low halves are looked at");
                arguments[((offset - ARGUMENTS) / 8) as usize]
            }
        };
        let (mut at, mut accumulator, mut steps) = (0, 0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            (at, steps) = (at + 1, steps + 1);
            match u32::from(code) {
                c if c == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => accumulator = word(k),
                c if c == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => accumulator &= k,
                c if c == libc::BPF_JMP | libc::BPF_JA | libc::BPF_K => at += k as usize,
                c if c == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if accumulator == k { jt } else { jf });
                }
                c if c == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => {
                    at += usize::from(if accumulator >= k { jt } else { jf });
                }
                c if c == libc::BPF_RET | libc::BPF_K => return (k, steps),
                other => panic!("code {other:#x}"),
            }
        }
    }

    fn want(verdict: &Verdict, arguments: [u32; 6]) -> u32 {
        let holds = |c: &Condition| (arguments[c.argument as usize] & c.mask == c.value) == c.is_equal;
        match verdict {
            Verdict::AllowIf(ways, _) if ways.iter().any(|way| way.iter().all(holds)) => libc::SECCOMP_RET_ALLOW,
            other => leave(other).k,
        }
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        let mask = prop_oneof![Just(u32::MAX), Just(3), Just(0xC)];
        let condition = (0..3u32, mask, 0..4u32, any::<bool>());
        let condition = condition.prop_map(|(argument, mask, value, is_equal)| Condition {
            argument,
            mask,
            value,
            is_equal,
        });
        let ways = proptest::collection::vec(proptest::collection::vec(condition, 0..4), 0..6);
        prop_oneof![
            Just(Verdict::Allow),
            Just(Verdict::Kill),
            (1..100u32).prop_map(Verdict::Fail),
            (ways, 1..100u32).prop_map(|(ways, errno)| Verdict::AllowIf(ways, errno)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_program_decides_as_its_table(
            table in proptest::collection::btree_map(1..600u32, verdict(), 0..300),
            calls in proptest::collection::vec((0..700u32, [0..5u32, 0..5u32, 0..5u32]), 200),
        ) {
            let mut table = table;
            table.insert(0, Verdict::Fail(38));
            let program = compile(ARCH, &table).unwrap();
            for (number, [a, b, c]) in calls {
                let arguments = [a, b, c, 0, 0, 0];
                let (_, verdict) = table.range(..=number).next_back().unwrap();
                prop_assert_eq!(run(&program, ARCH, number, arguments).0, want(verdict, arguments));
                prop_assert_eq!(run(&program, ARCH ^ 1, number, arguments).0, libc::SECCOMP_RET_KILL_PROCESS);
            }
        }
    }
}
