//! What extensions may do when: registering, taking events, failing, ending. Pure.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

use bytes::Bytes;
use ephyra_core::id::ExtensionId;
use ephyra_sandbox::supervisor::EXTENSIONS;

use crate::extensions::launch_error;

/// The longest name, in bytes: what a file system takes as the name of a file.
pub(crate) const NAME_BYTES: usize = 255;

/// Where an extension stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its process was started.
    Started,
    /// Its program could not be executed.
    LaunchError,
    /// It has registered.
    Registered,
    /// It waits for an event.
    Ready,
    /// It has one.
    Running,
    /// It said that it could not initialise.
    InitError,
    /// It said that it had failed.
    ExitError,
    /// Its process has ended.
    Exited,
}

impl Stage {
    /// As AWS names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::LaunchError => "LaunchError",
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
            Self::Exited => "Exited",
        }
    }

    /// The error type of an environment that an extension has failed in this state.
    pub(crate) const fn failure_type(self) -> &'static str {
        match self {
            Self::LaunchError => "Extension.LaunchError",
            Self::InitError => "Extension.InitError",
            Self::ExitError => "Extension.ExitError",
            Self::Started | Self::Registered | Self::Ready | Self::Running | Self::Exited => "Extension.Crash",
        }
    }
}

/// The events that an extension has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) invoke: bool,
    pub(crate) shutdown: bool,
}

impl Wanted {
    /// As AWS names them.
    pub(crate) fn names(self) -> Vec<&'static str> {
        [(self.invoke, "INVOKE"), (self.shutdown, "SHUTDOWN")]
            .into_iter()
            .filter_map(|(is_wanted, name)| is_wanted.then_some(name))
            .collect()
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    Invoke,
    Shutdown,
}

/// One extension.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) id: ExtensionId,
    /// The file in `/opt/extensions` when it is external.
    pub(crate) name: String,
    /// Whether it is a process of its own.
    pub(crate) is_external: bool,
    pub(crate) stage: Stage,
    pub(crate) wanted: Wanted,
    /// What it said, or what was found, when it failed.
    pub(crate) error_type: Option<String>,
    /// The event that it has not fetched yet.
    event: Option<Bytes>,
}

impl Extension {
    /// Whether it gets to hear that the environment ends.
    pub(crate) const fn is_told_of_shutdown(&self) -> bool {
        self.wanted.shutdown && matches!(self.stage, Stage::Registered | Stage::Ready | Stage::Running)
    }
}

/// Why something was refused: 403 with one of AWS's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Name,
    Closed,
    Registered,
    TooMany,
    /// An event of that name cannot be had, for this reason.
    Event(String, &'static str),
    Unknown(ExtensionId),
    Transition {
        id: ExtensionId,
        from: Stage,
        to: Stage,
    },
}

/// A failure that an extension reports of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Init,
    Exit,
}

/// All extensions of an environment.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    all: Vec<Extension>,
    is_closed: bool,
}

impl Extensions {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Extension> {
        self.all.iter()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Counts in an extension whose process is about to be started.
    pub(crate) fn launch(&mut self, name: &str, id: ExtensionId) {
        self.all.push(Extension {
            id,
            name: name.to_owned(),
            is_external: true,
            stage: Stage::Started,
            wanted: Wanted::default(),
            error_type: None,
            event: None,
        });
    }

    /// Its program could not be executed: the errno.
    pub(crate) fn launch_failed(&mut self, name: &str, errno: i32) {
        if let Some(extension) = self.all.iter_mut().find(|one| one.is_external && one.name == name) {
            extension.stage = Stage::LaunchError;
            extension.error_type = Some(launch_error(errno).to_owned());
        }
    }

    /// Registers an extension: one whose process was started by its name, any other as an internal one with `new` as
    /// its identifier.
    pub(crate) fn register(&mut self, name: &str, events: &[String], new: ExtensionId) -> Result<ExtensionId, Refusal> {
        if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
            return Err(Refusal::Name);
        }
        let is_full = self.all.len() >= EXTENSIONS;
        let known = self.all.iter_mut().find(|extension| extension.name == name);
        let is_external = known.as_ref().is_some_and(|extension| extension.is_external);
        let mut wanted = Wanted::default();
        for event in events {
            match event.as_str() {
                "INVOKE" => wanted.invoke = true,
                "SHUTDOWN" if is_external => wanted.shutdown = true,
                "SHUTDOWN" => {
                    return Err(Refusal::Event(
                        shortened(event),
                        "internal extensions are not told of it",
                    ));
                }
                _ => return Err(Refusal::Event(shortened(event), "there is no such event")),
            }
        }
        match known {
            // Started ---- register ----> Registered
            Some(extension) if extension.is_external && extension.stage == Stage::Started => {
                extension.stage = Stage::Registered;
                extension.wanted = wanted;
                Ok(extension.id)
            }
            Some(extension) if extension.is_external => Err(Refusal::Transition {
                id: extension.id,
                from: extension.stage,
                to: Stage::Registered,
            }),
            _ if self.is_closed => Err(Refusal::Closed),
            Some(_) => Err(Refusal::Registered),
            None if is_full => Err(Refusal::TooMany),
            None => {
                self.all.push(Extension {
                    id: new,
                    name: name.to_owned(),
                    is_external: false,
                    stage: Stage::Registered,
                    wanted,
                    error_type: None,
                    event: None,
                });
                Ok(new)
            }
        }
    }

    /// No more extensions register.
    pub(crate) const fn close(&mut self) {
        self.is_closed = true;
    }

    /// The name of a registered extension.
    pub(crate) fn name_of(&self, id: ExtensionId) -> Result<&str, Refusal> {
        let found = self.all.iter().find(|extension| extension.id == id);
        found
            .map(|extension| extension.name.as_str())
            .ok_or(Refusal::Unknown(id))
    }

    /// It asks for an event.
    pub(crate) fn ask(&mut self, id: ExtensionId) -> Result<(), Refusal> {
        let extension = self.find(id)?;
        match extension.stage {
            // Registered, Running ---- next ----> Ready; a second poll: the first one's client may have given up.
            Stage::Registered | Stage::Running | Stage::Ready => {
                extension.stage = Stage::Ready;
                Ok(())
            }
            from => Err(Refusal::Transition {
                id,
                from,
                to: Stage::Ready,
            }),
        }
    }

    /// Hands it its event if there is one and it waits for it.
    pub(crate) fn fetch(&mut self, id: ExtensionId) -> Option<Bytes> {
        let extension = self.find(id).ok()?;
        if extension.stage != Stage::Ready {
            return None;
        }
        // Ready ---- event ----> Running
        let event = extension.event.take()?;
        extension.stage = Stage::Running;
        Some(event)
    }

    /// It reports a failure of its own. Says whether that is news.
    pub(crate) fn report(&mut self, id: ExtensionId, report: Report, error_type: &str) -> Result<bool, Refusal> {
        let extension = self.find(id)?;
        let to = match report {
            Report::Init => Stage::InitError,
            Report::Exit => Stage::ExitError,
        };
        match (extension.stage, report) {
            // Registered ---- init error ----> InitError; Registered, Ready, Running ---- exit error ----> ExitError
            (Stage::Registered, _) | (Stage::Ready | Stage::Running, Report::Exit) => {
                extension.stage = to;
                extension.error_type = Some(shortened(error_type));
                Ok(true)
            }
            // The first report is the one that counts.
            (from, _) if from == to => Ok(false),
            (from, _) => Err(Refusal::Transition { id, from, to }),
        }
    }

    /// Its process has ended. What it said of itself stands.
    pub(crate) fn exited(&mut self, name: &str) {
        let found = self.all.iter_mut().find(|one| one.is_external && one.name == name);
        if let Some(extension) = found
            && !matches!(
                extension.stage,
                Stage::InitError | Stage::ExitError | Stage::LaunchError
            )
        {
            extension.stage = Stage::Exited;
        }
    }

    /// Lays an event out for all that have asked for its kind.
    pub(crate) fn summon(&mut self, occasion: Occasion, event: &Bytes) {
        for extension in &mut self.all {
            let is_wanted = match occasion {
                Occasion::Invoke => extension.wanted.invoke,
                Occasion::Shutdown => extension.wanted.shutdown,
            };
            if is_wanted {
                extension.event = Some(event.clone());
            }
        }
    }

    /// Whether all external ones have registered.
    pub(crate) fn are_registered(&self) -> bool {
        self.all.iter().all(|extension| extension.stage != Stage::Started)
    }

    /// Whether all have asked for their first event.
    pub(crate) fn are_ready(&self) -> bool {
        self.all.iter().all(|extension| extension.stage == Stage::Ready)
    }

    /// Whether none has an event to fetch or to work on.
    pub(crate) fn are_idle(&self) -> bool {
        let mut asked = self.all.iter().filter(|extension| extension.wanted.invoke);
        asked.all(|extension| extension.event.is_none() && extension.stage == Stage::Ready)
    }

    /// The first that has failed.
    pub(crate) fn failed(&self) -> Option<&Extension> {
        self.all.iter().find(|extension| {
            matches!(
                extension.stage,
                Stage::InitError | Stage::ExitError | Stage::LaunchError | Stage::Exited
            )
        })
    }

    fn find(&mut self, id: ExtensionId) -> Result<&mut Extension, Refusal> {
        let found = self.all.iter_mut().find(|extension| extension.id == id);
        // Nobody knows the identifier of one that has not registered.
        found
            .filter(|extension| extension.stage != Stage::Started)
            .ok_or(Refusal::Unknown(id))
    }
}

/// What of a guest's word is kept and repeated.
fn shortened(text: &str) -> String {
    text.chars()
        .take(128)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> ExtensionId {
        ExtensionId::from_bytes([number; 16])
    }

    fn events(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_external_one_goes_through_its_life() {
        let mut all = Extensions::default();
        all.launch("ext", id(1));
        assert!(!all.are_registered());
        assert_eq!(all.ask(id(1)), Err(Refusal::Unknown(id(1))), "nobody knows it yet");
        assert_eq!(all.register("ext", &events(&["INVOKE", "SHUTDOWN"]), id(9)), Ok(id(1)));
        assert!(all.are_registered() && !all.are_ready());
        all.close();
        assert_eq!(all.ask(id(1)), Ok(()));
        assert!(all.are_ready() && all.are_idle());
        assert_eq!(all.fetch(id(1)), None);
        all.summon(Occasion::Invoke, &Bytes::from_static(b"1"));
        assert!(!all.are_idle());
        assert_eq!(all.fetch(id(1)), Some(Bytes::from_static(b"1")));
        assert!(!all.are_idle());
        assert_eq!(all.ask(id(1)), Ok(()));
        assert!(all.are_idle());
        all.summon(Occasion::Shutdown, &Bytes::from_static(b"2"));
        assert_eq!(all.fetch(id(1)), Some(Bytes::from_static(b"2")));
        all.exited("ext");
        assert_eq!(all.failed().unwrap().stage, Stage::Exited);
    }

    #[test]
    fn what_is_refused() {
        let mut all = Extensions::default();
        all.launch("ext", id(1));
        assert_eq!(all.register("", &[], id(2)), Err(Refusal::Name));
        assert_eq!(all.register("a\nb", &[], id(2)), Err(Refusal::Name));
        assert!(
            matches!(all.register("in", &events(&["SHUTDOWN"]), id(2)), Err(Refusal::Event(name, _)) if name == "SHUTDOWN")
        );
        assert!(
            matches!(all.register("ext", &events(&["LATER"]), id(2)), Err(Refusal::Event(name, _)) if name == "LATER")
        );
        assert_eq!(all.register("in", &events(&["INVOKE"]), id(2)), Ok(id(2)));
        assert_eq!(all.register("in", &[], id(3)), Err(Refusal::Registered));
        assert_eq!(all.register("ext", &[], id(3)), Ok(id(1)));
        assert_eq!(
            all.register("ext", &[], id(3)),
            Err(Refusal::Transition {
                id: id(1),
                from: Stage::Registered,
                to: Stage::Registered
            })
        );
        for number in 3..11 {
            assert_eq!(all.register(&format!("in{number}"), &[], id(number)), Ok(id(number)));
        }
        assert_eq!(all.register("eleventh", &[], id(11)), Err(Refusal::TooMany));
        all.close();
        assert_eq!(all.register("late", &[], id(12)), Err(Refusal::Closed));
        assert_eq!(all.ask(id(12)), Err(Refusal::Unknown(id(12))));
    }

    #[test]
    fn failures_are_reported_once_and_in_their_time() {
        let mut all = Extensions::default();
        for number in 1..4 {
            all.register(&number.to_string(), &events(&["INVOKE"]), id(number))
                .unwrap();
        }
        assert_eq!(all.report(id(1), Report::Init, "Extension.Mine"), Ok(true));
        assert_eq!(all.report(id(1), Report::Init, "Extension.Other"), Ok(false));
        assert_eq!(all.failed().unwrap().error_type.as_deref(), Some("Extension.Mine"));
        assert!(matches!(all.ask(id(1)), Err(Refusal::Transition { .. })));
        all.ask(id(2)).unwrap();
        assert!(matches!(
            all.report(id(2), Report::Init, "X"),
            Err(Refusal::Transition {
                from: Stage::Ready,
                to: Stage::InitError,
                ..
            })
        ));
        assert_eq!(all.report(id(2), Report::Exit, "X"), Ok(true));
        assert_eq!(all.report(id(9), Report::Exit, "X"), Err(Refusal::Unknown(id(9))));
        all.launch("x", id(5));
        all.launch_failed("x", 13);
        all.exited("x");
        assert_eq!(all.iter().last().unwrap().stage, Stage::LaunchError);
    }

    #[test]
    fn only_those_who_asked_hold_an_invocation_up() {
        let mut all = Extensions::default();
        all.register("quiet", &[], id(1)).unwrap();
        all.register("busy", &events(&["INVOKE"]), id(2)).unwrap();
        all.ask(id(1)).unwrap();
        all.ask(id(2)).unwrap();
        all.summon(Occasion::Invoke, &Bytes::new());
        assert_eq!(all.fetch(id(1)), None);
        assert!(!all.are_idle());
        all.fetch(id(2)).unwrap();
        all.ask(id(2)).unwrap();
        assert!(all.are_idle() && all.are_ready());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn events_are_fetched_at_most_once_and_bounds_hold(steps in proptest::collection::vec((0..7u8, 0..14u8), 0..80)) {
            let mut all = Extensions::default();
            let (mut laid_out, mut fetched) = (0, 0);
            for (step, number) in steps {
                match step {
                    0 => drop(all.register(&number.to_string(), &events(&["INVOKE"]), id(number))),
                    1 => drop(all.ask(id(number))),
                    2 => fetched += u32::from(all.fetch(id(number)).is_some()),
                    3 => {
                        all.summon(Occasion::Invoke, &Bytes::new());
                        laid_out += u32::try_from(all.iter().count()).unwrap();
                    }
                    4 => drop(all.report(id(number), Report::Exit, "E")),
                    5 => all.exited(&number.to_string()),
                    _ => all.close(),
                }
                prop_assert!(fetched <= laid_out && all.iter().count() <= EXTENSIONS);
                prop_assert!(!all.are_idle() || all.iter().all(|one| one.event.is_none()));
            }
        }
    }
}
