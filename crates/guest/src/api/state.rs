//! What a runtime may say when: the states of the Runtime API, pure.

use ephyra_core::id::RequestId;

/// Where a runtime stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It has said nothing yet.
    Started,
    /// It could not initialise.
    InitError,
    /// It has initialised and waits to be restored: a template.
    Template,
    /// It waits for an event.
    Ready,
    /// It has one.
    Running(RequestId),
    /// Its answer is being read.
    Responding(RequestId),
    /// Its answer has been read.
    Sent,
    /// It is spoken to in frames, and nobody has a say here.
    Framed,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not in this state: 403 `InvalidStateTransition`.
    Transition { from: State, to: &'static str },
    /// Not this invocation: 400 `InvalidRequestID`.
    RequestId,
}

/// The names of what a runtime wants to become.
pub(crate) const READY: &str = "Ready";
pub(crate) const RESTORE: &str = "RestoreReady";
pub(crate) const RESPONSE: &str = "InvocationResponse";
pub(crate) const ERROR: &str = "InvocationErrorResponse";
pub(crate) const INIT_ERROR: &str = "InitError";

impl State {
    /// As AWS names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::InitError => INIT_ERROR,
            Self::Template => RESTORE,
            Self::Ready => READY,
            Self::Running(_) | Self::Framed => "Running",
            Self::Responding(_) => RESPONSE,
            Self::Sent => "RuntimeResponseSentState",
        }
    }

    /// It asks for an event. Says whether it did not wait for one already.
    pub(crate) fn ask(&mut self) -> Result<bool, Refusal> {
        match self {
            // Started, Sent ---- next ----> Ready
            Self::Started | Self::Sent => {
                *self = Self::Ready;
                Ok(true)
            }
            // A second poll: the first one's client may have given up.
            Self::Ready => Ok(false),
            Self::InitError | Self::Template | Self::Running(_) | Self::Responding(_) | Self::Framed => {
                Err(Refusal::Transition { from: *self, to: READY })
            }
        }
    }

    /// It asks to be restored. Says whether it did not wait for that already.
    pub(crate) fn await_restore(&mut self) -> Result<bool, Refusal> {
        match self {
            // Started ---- restore/next ----> Template
            Self::Started => {
                *self = Self::Template;
                Ok(true)
            }
            Self::Template => Ok(false),
            from => Err(Refusal::Transition {
                from: *from,
                to: RESTORE,
            }),
        }
    }

    /// It is restored. Says whether it waited for that.
    pub(crate) fn restore(&mut self) -> bool {
        // Template ---- restored ----> Started: its hooks run, and it asks for an event or says that they failed.
        let is_waiting = *self == Self::Template;
        if is_waiting {
            *self = Self::Started;
        }
        is_waiting
    }

    /// It is handed an event. Says whether it waited for one.
    pub(crate) fn deliver(&mut self, id: RequestId) -> bool {
        // Ready ---- event ----> Running
        let is_waiting = *self == Self::Ready;
        if is_waiting {
            *self = Self::Running(id);
        }
        is_waiting
    }

    /// It begins to answer.
    pub(crate) fn answer(&mut self, id: &str, to: &'static str) -> Result<RequestId, Refusal> {
        match *self {
            // Running ---- response, error ----> Responding
            Self::Running(current) if id.parse().is_ok_and(|id: RequestId| id == current) => {
                *self = Self::Responding(current);
                Ok(current)
            }
            Self::Running(_) => Err(Refusal::RequestId),
            from => Err(Refusal::Transition { from, to }),
        }
    }

    /// Its answer broke off before it counted.
    pub(crate) fn abandon(&mut self) {
        // Responding ---- broken off ----> Running
        if let Self::Responding(id) = *self {
            *self = Self::Running(id);
        }
    }

    /// Its answer is complete.
    pub(crate) fn finish(&mut self) {
        // Responding ---- complete ----> Sent
        if let Self::Responding(_) = *self {
            *self = Self::Sent;
        }
    }

    /// It could not initialise.
    pub(crate) fn fail(&mut self) -> Result<(), Refusal> {
        match *self {
            // Started ---- init error ----> InitError
            Self::Started => {
                *self = Self::InitError;
                Ok(())
            }
            from => Err(Refusal::Transition { from, to: INIT_ERROR }),
        }
    }
}

/// An error type as the runtime gave it, if it is of AWS's form `(Runtime|Function)\.[A-Z][a-zA-Z]+`, or `otherwise`.
pub(crate) fn error_type<'a>(given: Option<&'a str>, otherwise: &'a str) -> &'a str {
    let is_proper = |given: &&str| {
        let Some((kind, name)) = given.split_once('.') else {
            return false;
        };
        matches!(kind, "Runtime" | "Function")
            && name.len() > 1
            && name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_alphabetic())
            && given.len() <= 256
    };
    given.filter(is_proper).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: RequestId = RequestId::from_bytes([1; 16]);

    #[test]
    fn an_invocation_goes_round() {
        let mut state = State::Started;
        for _ in 0..2 {
            assert_eq!(state.ask(), Ok(true));
            assert_eq!(state.ask(), Ok(false));
            assert!(state.deliver(ID));
            assert_eq!(
                state.ask(),
                Err(Refusal::Transition {
                    from: State::Running(ID),
                    to: READY
                })
            );
            assert_eq!(state.answer("other", RESPONSE), Err(Refusal::RequestId));
            assert_eq!(state.answer(&ID.to_string(), RESPONSE), Ok(ID));
            state.abandon();
            assert_eq!(state.answer(&ID.to_string(), ERROR), Ok(ID));
            state.finish();
            assert_eq!(
                state.answer(&ID.to_string(), RESPONSE),
                Err(Refusal::Transition {
                    from: State::Sent,
                    to: RESPONSE
                })
            );
        }
    }

    #[test]
    fn initialisation_fails_once_and_only_at_the_start() {
        let mut state = State::Started;
        assert_eq!(state.fail(), Ok(()));
        assert_eq!(
            state.ask(),
            Err(Refusal::Transition {
                from: State::InitError,
                to: READY
            })
        );
        let mut state = State::Ready;
        assert_eq!(
            state.fail(),
            Err(Refusal::Transition {
                from: State::Ready,
                to: INIT_ERROR
            })
        );
    }

    #[test]
    fn error_types_are_of_awss_form_or_replaced() {
        for (given, want) in [
            ("Runtime.Unknown", "Runtime.Unknown"),
            ("Function.MyError", "Function.MyError"),
            ("Function.myError", "-"),
            ("Function.My1", "-"),
            ("Function.X", "-"),
            ("TypeError", "-"),
            ("Other.Name", "-"),
            ("", "-"),
        ] {
            assert_eq!(error_type(Some(given), "-"), want, "{given}");
        }
        assert_eq!(error_type(None, "-"), "-");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn an_event_is_answered_at_most_once(steps in proptest::collection::vec(0..6u8, 0..40)) {
            let mut state = State::Started;
            let (mut delivered, mut answered) = (0, 0);
            for step in steps {
                match step {
                    0 => drop(state.ask()),
                    1 => delivered += u32::from(state.deliver(ID)),
                    2 => drop(state.answer(&ID.to_string(), RESPONSE)),
                    3 => state.abandon(),
                    4 => {
                        answered += u32::from(matches!(state, State::Responding(_)));
                        state.finish();
                    }
                    _ => drop(state.fail()),
                }
                prop_assert!(answered <= delivered && delivered <= answered + 1);
            }
        }
    }
}
